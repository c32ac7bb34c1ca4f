"""Settings that pages show are settings: each block, put into a stack's configuration, leaves it without a mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import jsonschema
import pytest
import yaml

from infra.cluster_config import MOUNTED_SECRETS
from infra.config import KUBERNETES_TARGETS, NAMESPACE, SETTING_TARGETS
from infra.config_loader import load
from tests.pages import snippets
from tests.pages.snippets import ROOT, Snippet
from tools.plan import StackFileLoader, settings

BLOCKS = [one for page in snippets.pages() for one in snippets.of(page) if one.language == "yaml"]
PREFIX = f"{NAMESPACE}:"

OTHERS = {
    ("docs/how-to/evaluate-a-model.md", "judge"): "a part of a suite",
    ("docs/how-to/hold-a-stack-to-policies.md", "metadata"): "annotations of an object of Kubernetes",
    ("docs/how-to/kserve.md", "apiVersion"): "objects of Kubernetes",
    ("docs/how-to/operate.md", "route"): "Alertmanager's",
}
"""Blocks that say nothing to Headrace, by their page and first key."""

CHART = {("docs/how-to/rotate-secrets.md", "secrets"), ("docs/how-to/rotate-secrets.md", "serving")}
"""Values of the chart."""

BASE = {
    "docs/how-to/aws.md": "aws",
    "docs/how-to/azure.md": "azure",
    "docs/how-to/gcp.md": "gcp",
    "docs/how-to/tls.md": "gcp",
}
"""The stack that a page adds to; else a page has a whole one, or adds to `kubeconfig` or `local`."""

VLLM_IMAGE = {"repository": "headrace/vllm", "tag": "1"}

MADE_ELSEWHERE: Mapping[str, Mapping[str, Any]] = {
    "docs/how-to/add-an-assistant.md": {"knowledge": [{"name": "handbook", "paths": ["handbook"]}]},
    "docs/how-to/reason-with-a-strategy.md": {"knowledge": [{"name": "handbook", "paths": ["handbook"]}]},
    "docs/how-to/canary.md": {
        "models": [{"name": "large", "engine": "remote", "url": "https://models.example.com/v1"}],
    },
    "docs/how-to/fetch-weights.md": {"pools": [{"name": "gpu", "gpus": 1, "image": VLLM_IMAGE}]},
    "docs/how-to/know-what-answers-cost.md": {
        **settings("kubeconfig"),
        "pools": [{"name": "serving", "gpus": 2, "cpus": 8, "temporary_storage": "40Gi", "image": VLLM_IMAGE}],
    },
    "docs/how-to/tenants.md": {
        "tools": [{"kind": "http", "name": "archive", "description": "Old.", "allow": ["https://a.example.com/"]}]
    },
}
"""What a page names and does not show."""

EXCLUDE = {"checksums": "bundle"}
"""A setting that a page shows, and the one that it shows for others before, beside which it may not stand."""

PLACEHOLDERS = (
    (re.compile(r"sha256:(?:\.\.\.|…)"), f"sha256:{'0' * 64}"),
    (re.compile(r"(kubeadm|kubelet|kubectl): \.\.\."), rf"\1: '{'0' * 64}'"),
    (re.compile(r"AAAA\.\.\."), "AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    (re.compile(r"/subscriptions/\.\.\./"), "/subscriptions/00000000-0000-0000-0000-000000000000/"),
    (re.compile(r"\{secure: (?:\.\.\.|…)\}"), "encrypted"),
)
"""What stands for something of the reader's own, and one of its kind."""


def documents(snippet: Snippet) -> list[dict[str, Any]]:
    """Returns what a block of YAML says."""
    text = snippet.text
    for shown, own in PLACEHOLDERS:
        text = shown.sub(own, text)
    return [one for one in yaml.load_all(text, StackFileLoader) if one is not None]


def first_key(snippet: Snippet) -> tuple[str, str]:
    return snippet.page, next(iter(documents(snippet)[0]))


def shown_settings(snippet: Snippet) -> dict[str, Any]:
    """Returns the settings of a block, without their namespace."""
    (document,) = documents(snippet)
    found = document.get("config", document)
    assert found
    assert all(key.startswith(PREFIX) for key in found), f"{snippet}: neither settings nor listed"
    return {key.removeprefix(PREFIX): value for key, value in found.items()}


def merged(one: Any, other: Any) -> Any:
    """Returns `one` with what `other` says: of lists with names, each entry is put to the one of its name."""
    if isinstance(one, dict) and isinstance(other, dict) and all(_agree(one, other, key) for key in ("kind", "engine")):
        kept = {key: value for key, value in one.items() if not any(EXCLUDE.get(new) == key for new in other)}
        return {**kept, **{key: merged(one.get(key), value) for key, value in other.items()}}
    if isinstance(one, list) and isinstance(other, list) and all(_named(each) for each in (*one, *other)):
        there = {each["name"]: each for each in one}
        return list((there | {each["name"]: merged(there.get(each["name"]), each) for each in other}).values())
    return deepcopy(other)


def _agree(one: dict[str, Any], other: dict[str, Any], key: str) -> bool:
    return key not in other or one.get(key, other[key]) == other[key]


def _named(entry: Any) -> bool:
    return isinstance(entry, dict) and "name" in entry


def stacks(page: str, blocks: list[Snippet]) -> Iterator[tuple[Snippet, dict[str, Any]]]:
    """Yields each block of a page with the settings of a stack that has it, and those before it."""
    shown = [shown_settings(each) for each in blocks]
    own = set().union(*shown)
    of_clusters = {key for key, targets in SETTING_TARGETS.items() if set(targets) <= set(KUBERNETES_TARGETS)}
    asks = MADE_ELSEWHERE.get(page, {})
    state = settings("local")
    if base := BASE.get(page) or ("kubeconfig" if own & of_clusters and "target" not in own else ""):
        state = merged(state, settings(base))
    state = merged(state, asks)
    for snippet, given in zip(blocks, shown, strict=True):
        state = merged(state, given)
        yield snippet, state


def test_blocks_with_settings_are_found() -> None:
    assert len(BLOCKS) > 60


@pytest.mark.parametrize("page", sorted({one.page for one in BLOCKS}))
def test_settings_have_no_mistake(page: str) -> None:
    blocks = [one for one in BLOCKS if one.page == page and first_key(one) not in {*OTHERS, *CHART}]
    for snippet, state in stacks(page, blocks):
        loaded = load(deepcopy(state), frozenset(state), MOUNTED_SECRETS)
        assert [str(mistake) for mistake in loaded.mistakes] == [], str(snippet)


def test_a_mistake_is_found() -> None:
    for text, said in (
        ("config:\n  headrace:models:\n    - {name: smollm2, slotz: 2}\n", "slotz"),
        ("config:\n  headrace:assistants:\n    - {name: docs, knowledge: [nowhere]}\n", "nowhere"),
        ("config:\n  headrace:retention: {captures: -1}\n", "retention.captures"),
    ):
        ((_, state),) = stacks("docs/page.md", [Snippet("docs/page.md", 1, "yaml", text)])
        assert said in " ".join(map(str, load(state, frozenset(state), MOUNTED_SECRETS).mistakes))


@pytest.mark.parametrize("snippet", [one for one in BLOCKS if first_key(one) in CHART], ids=str)
def test_values_of_the_chart_fit_their_schema(snippet: Snippet) -> None:
    defaults = yaml.safe_load((ROOT / "charts/headrace/values.yaml").read_text())
    schema = json.loads((ROOT / "charts/headrace/values.schema.json").read_text())
    (values,) = documents(snippet)
    jsonschema.validate(merged(defaults, values), schema)


def test_listed_exceptions_exist() -> None:
    found = {first_key(one) for one in BLOCKS}
    assert {*OTHERS, *CHART} <= found
    assert {*BASE, *MADE_ELSEWHERE} <= {one.page for one in BLOCKS}
