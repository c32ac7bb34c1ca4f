"""values.yaml, its schema and its reference page say the same, and a wrong value is told in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
import yaml

from tests.rendering.chart import CHART, FULL, Refused
from tests.rendering.chart_values import REFUSED
from tools import values

WRITTEN = yaml.load((CHART / "values.schema.yaml").read_text(), yaml.CSafeLoader)
DEFAULTS = yaml.load((CHART / "values.yaml").read_text(), yaml.CSafeLoader)
EMBEDDED = {"serving", "catalog"}
"""What serving.config describes."""


def resolved(node: Mapping[str, Any]) -> dict[str, Any]:
    name = str(node.get("$ref", "")).removeprefix("#/$defs/")
    return {**resolved(WRITTEN["$defs"][name]), **node} if name in WRITTEN["$defs"] else dict(node)


def leaves(at: tuple[str, ...], node: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every value that the schema knows: (path, schema); `*` stands for an item of a list, or a pool's name."""
    node = resolved(node)
    yield at, node
    if len(at) == 1 and at[0] in EMBEDDED:
        return
    for name, field in node.get("properties", {}).items():
        yield from leaves((*at, name), field)
    for field in (node.get("items"), node.get("additionalProperties")):
        if isinstance(field, dict):
            yield from leaves((*at, "*"), field)


ALL = [(at, node) for at, node in leaves((), WRITTEN) if at]


def test_generated_files_are_up_to_date():
    stale = [path.name for path, text in values.files().items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run `make docs`"


def test_the_schema_is_valid():
    jsonschema.Draft202012Validator.check_schema(json.loads((CHART / "values.schema.json").read_text()))


def test_every_value_is_described():
    nameless = {"resources"}  # requests and limits of what is named above them
    silent = [
        ".".join(at)
        for at, node in ALL
        if at[-1] != "*" and at[-1] not in nameless and not node.get("description", "").strip()
    ]
    assert silent == []
    cut = [".".join(at) for at, node in ALL if None in node.values()]
    assert cut == [], "a description with a comma, not quoted"


def test_every_value_has_a_default_and_every_default_is_a_value():
    pool = yaml.load((CHART / "files" / "pool.yaml").read_text(), yaml.CSafeLoader)
    assert pool.keys() == WRITTEN["$defs"]["Pool"]["properties"].keys()
    free = {"resources", "podSelector", "password", "global"}
    for at, _ in ALL:
        if "*" in at or free & set(at) or at[0] in EMBEDDED or at[:2] == ("image", "digest"):
            continue
        node: Any = DEFAULTS
        for name in at:
            assert name in node, f"values.yaml lacks {'.'.join(at)}"
            node = node[name]


def test_the_full_values_set_every_value():
    full = yaml.load(FULL.read_text(), yaml.CSafeLoader)
    missing = [".".join(at) for at, _ in ALL if not _set(full, at)]
    assert missing == []


def _set(node: Any, at: tuple[str, ...]) -> bool:
    if not at:
        return True
    if at[0] == "*":
        items = node.values() if isinstance(node, dict) else node
        return not isinstance(items, str) and any(_set(item, at[1:]) for item in items)
    return isinstance(node, dict) and at[0] in node and _set(node[at[0]], at[1:])


@pytest.mark.parametrize(("values", "message"), REFUSED.values(), ids=REFUSED)
def test_invalid_values_are_explained(values, message, render):
    with pytest.raises(Refused, match=message):
        render(values)
