"""What `up` would send to a cluster, written into files by the real provider, is what Kubernetes takes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.charts.conftest import CRDS, helm, schema_of
from tests.charts.test_schemas import mistakes
from tests.plan.examples import EXAMPLES
from tests.plan.rendering import Object, objects, rendered

__all__ = ["helm", "schema_of"]

CRDS["github.com/cloudnative-pg/cloudnative-pg@v1.27.1"] = "config/crd/bases/postgresql.cnpg.io_clusters.yaml"

NO_SCHEMA = {"serving.kserve.io/v1beta1", "serving.kserve.io/v1alpha1"}
"""KServe's CRDs are in no registry; its objects are made of its own types, and checked field by field elsewhere."""


@pytest.fixture(scope="session")
def render(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], list[Object]]:
    """Renders an example, once."""

    @cache
    def run(example: Path) -> list[Object]:
        folder = tmp_path_factory.mktemp("render")
        rendered(example, folder)
        return objects(folder / "manifests")

    return run


@pytest.fixture(params=EXAMPLES, ids=lambda p: p.stem.removeprefix("Pulumi."))
def manifests(request: pytest.FixtureRequest, render: Callable[[Path], list[Object]]) -> list[Object]:
    return render(request.param)


def test_manifests_are_valid(manifests: list[Object], schema_of: Callable[[Object], Object]) -> None:
    checked = [o for o in manifests if o["apiVersion"] not in NO_SCHEMA]
    assert list(mistakes(checked, schema_of)) == []


def test_manifests_are_whole(manifests: list[Object]) -> None:
    kinds = {o["kind"] for o in manifests}
    assert {"RayService", "NetworkPolicy", "Job", "Secret", "Namespace"} <= kinds


def test_up_again_changes_nothing_and_destroy_leaves_nothing(tmp_path: Path) -> None:
    project = rendered(EXAMPLES[0], tmp_path)
    before = {f: f.read_bytes() for f in (tmp_path / "manifests").rglob("*.yaml")}
    assert project.changes() == {}
    project.pulumi("up", "--yes", "--skip-preview")
    assert {f: f.read_bytes() for f in (tmp_path / "manifests").rglob("*.yaml")} == before
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert objects(tmp_path / "manifests") == []
