"""KubeRay's chart, packed from its module: it takes the add-on's values, and Kubernetes takes what it renders."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.addons.kuberay import KUBERAY
from infra.config import StackConfig
from infra.versions import KUBERAY_CRDS
from tests.rendering.chart import helm
from tests.rendering.kuberay_chart import pack_kuberay
from tests.rendering.schemas import mistakes, validator_of

__all__ = ["helm", "validator_of"]

Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_kuberay(tmp_path_factory.mktemp("charts"))


@pytest.fixture(scope="module")
def objects(archive: Path, helm: Helm) -> list[dict[str, Any]]:
    config = StackConfig.model_validate(
        {"mirror": {"images": {"quay.io": "mirror.example.com"}}, "image": {"pull_secrets": ["pull"]}}
    )
    values = json.dumps(KUBERAY.values(config, KUBERAY.images(config)))
    done = helm("template", "kuberay", str(archive), "--namespace", "kuberay-system", "--values", "-", stdin=values)
    assert done.returncode == 0, done.stderr
    return [o for o in yaml.safe_load_all(done.stdout) if o]


def test_the_rendered_objects_are_valid(objects: list[dict[str, Any]], validator_of: Any) -> None:
    assert list(mistakes(objects, validator_of)) == []
    assert {o["kind"] for o in objects} == {
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "Deployment",
        "Service",
    }


def test_the_operators_pod_follows_the_addons_values(objects: list[dict[str, Any]]) -> None:
    [pod] = [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"]
    [container] = pod["containers"]
    assert container["image"] == "mirror.example.com/kuberay/operator:v1.5.0"
    assert container["resources"]["limits"]["memory"] == "512Mi"
    assert pod["imagePullSecrets"] == [{"name": "pull"}]
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_everything_is_in_the_releases_namespace(objects: list[dict[str, Any]]) -> None:
    for given in objects:
        wide = given["kind"].startswith("Cluster")
        assert given["metadata"].get("namespace") == (None if wide else "kuberay-system")
        assert all(s["namespace"] == "kuberay-system" for s in given.get("subjects", ()))


def test_the_service_leads_to_the_pods(objects: list[dict[str, Any]]) -> None:
    by_kind = {o["kind"]: o["spec"] for o in objects if o["kind"] in ("Service", "Deployment")}
    labels = by_kind["Deployment"]["template"]["metadata"]["labels"]
    assert by_kind["Service"]["selector"].items() <= labels.items()
    assert by_kind["Deployment"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_crds_are_next_to_the_archive(archive: Path) -> None:
    assert {f.name for f in archive.parent.iterdir()} == {archive.name, *KUBERAY_CRDS.files}


def test_the_same_files_make_the_same_archive(archive: Path, tmp_path: Path) -> None:
    assert pack_kuberay(tmp_path).read_bytes() == archive.read_bytes()
