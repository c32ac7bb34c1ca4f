"""What `up` would send to a cluster, written into files by the real provider, is what Kubernetes takes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.rendering.examples import EXAMPLES, stack_settings
from tests.rendering.project import Object, Project, objects, rendered
from tests.rendering.schemas import ValidatorOf, mistakes, validator_of
from tools.stack.changes import losses, objections, protections

pytestmark = pytest.mark.long

__all__ = ["validator_of"]

NO_SCHEMA = {"serving.kserve.io/v1beta1", "serving.kserve.io/v1alpha1"}
"""KServe's CRDs are in no registry; its objects are made of its own types, and checked field by field elsewhere."""


Rendering = tuple[Project, list[Object]]


def name_of(example: Path) -> str:
    return example.stem.removeprefix("Pulumi.")


BY_NAME = {name_of(example): example for example in EXAMPLES}
BOTH = "kserve behind a gateway"
"""Two examples in one have every kind of object but an Ingress. The others differ in values alone: `tests/unit/plan`
makes their plans, and `tests/contract/charts` holds what the chart makes of such values, an Ingress too, against the
same schemas."""


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Rendering]:
    """Renders an example, once."""

    @cache
    def run(name: str) -> Rendering:
        folder = tmp_path_factory.mktemp("render")
        if name == BOTH:
            gateway = stack_settings(BY_NAME["gateway"])
            more = {setting: gateway[setting] for setting in ("ingress", "database", "pools")}
            return rendered(BY_NAME["kserve"], folder, **more), objects(folder / "manifests")
        return rendered(BY_NAME[name], folder), objects(folder / "manifests")

    return run


PARAMETERS = [BOTH, *(pytest.param(name, marks=pytest.mark.soak) for name in BY_NAME)]


@pytest.fixture(params=PARAMETERS)
def manifests(request: pytest.FixtureRequest, render: Callable[[str], Rendering]) -> list[Object]:
    return render(request.param)[1]


def test_manifests_are_valid(manifests: list[Object], validator_of: ValidatorOf) -> None:
    checked = [o for o in manifests if o["apiVersion"] not in NO_SCHEMA]
    assert list(mistakes(checked, validator_of)) == []


def test_manifests_are_whole(manifests: list[Object]) -> None:
    kinds = {o["kind"] for o in manifests}
    assert {"RayService", "NetworkPolicy", "Job", "Secret", "Namespace"} <= kinds


def test_another_namespace_is_not_taken_unasked(render: Callable[[str], Rendering]) -> None:
    """Pulumi and its provider say what must be replaced, and why, as `up` reads it."""
    project, _ = render(BOTH)
    before = project.file.read_text()
    project.file.write_text(before.replace("headrace:kubernetes:\n", "headrace:kubernetes:\n    namespace: other\n"))
    try:
        found = project.preview()
    finally:
        project.file.write_text(before)
    said = objections(found.changes, (), "mine")
    reason = 'metadata.{} changes from "headrace" to "other" (headrace:kubernetes.namespace)'
    for kind, name, path in (("namespace", "namespace", "name"), ("database", "headrace-db", "namespace")):
        assert any(s.startswith(f"  {kind} {name} would be replaced") and s.endswith(reason.format(path)) for s in said)
    assert "--destroy namespace" in said[-1]


def test_the_end_of_a_stack_is_told_and_stops_at_what_is_protected(render: Callable[[str], Rendering]) -> None:
    project, _ = render(BOTH)
    said = list(losses(project.deletion().changes, "mine"))
    assert re.match(r"This deletes the stack 'mine': \d\d+ resources and its state, for good\.", said[0])
    assert "  namespace namespace: everything in it, its volumes too" in said
    assert "  database headrace-db: its volumes: users, keys, conversations and all other rows" in said
    state = json.loads(project.pulumi("stack", "export"))
    [urn] = [r["urn"] for r in state["deployment"]["resources"] if r["urn"].endswith("::namespace")]
    project.pulumi("state", "protect", urn, "--yes")
    try:
        [refused] = protections(project.deletion().changes)
    finally:
        project.pulumi("state", "unprotect", urn, "--yes")
    assert refused.startswith("protected from deletion: namespace namespace; set deletion_protection: false")


def test_up_again_changes_nothing_and_destroy_leaves_nothing(render: Callable[[str], Rendering]) -> None:
    project, _ = render(BOTH)
    manifests = project.folder / "manifests"
    before = {f: f.read_bytes() for f in manifests.rglob("*.yaml")}
    said = project.pulumi("up", "--yes", "--skip-preview")
    assert re.findall(r"^ +\d+ (\w+)$", said.partition("Resources:")[2], re.MULTILINE) == ["unchanged"]
    assert {f: f.read_bytes() for f in manifests.rglob("*.yaml")} == before
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert objects(manifests) == []
