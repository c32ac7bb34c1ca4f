"""Preflight checks of a cluster: problems are found early and reported once, and nothing is created."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config import StackConfig
from infra.kubernetes.cluster import ClusterContext, read_kubeconfig
from infra.mistakes import Mistake
from infra.targets import cluster_preflight, image_check
from tests.cluster.images import load_images
from tests.cluster.objects import definitions
from tests.rendering.kuberay_chart import pack_kuberay
from tests.rendering.project import Project
from tests.wait import eventually
from tools.cluster.layout import KUBECONFIG

Kubectl = Callable[..., str]

EXTERNAL_SECRETS = "github.com/external-secrets/external-secrets@v1.3.2"
STACK = "preflight"
NAMESPACE = "headrace-preflight"
THERE = {"registry": "docker.io", "repository": "headrace/tools", "tag": "1", "pull_policy": "Never"}
"""An image that the cluster has."""

pytestmark = [pytest.mark.alone, pytest.mark.usefixtures("cluster", "images_are_loaded_meanwhile")]


@pytest.fixture(scope="module")
def images_are_loaded_meanwhile(cluster: object, request: pytest.FixtureRequest) -> Iterator[None]:
    """Those of the session's stack, which comes up next: these tests wait more than they work."""
    with ThreadPoolExecutor(1) as pool:
        if any("stack" in getattr(item, "fixturenames", ()) for item in request.session.items):
            pool.submit(load_images)
        yield


def config(**settings: Any) -> StackConfig:
    kubernetes = {"kubeconfig": str(KUBECONFIG), "namespace": NAMESPACE, **settings.pop("kubernetes", {})}
    addons = {"monitoring": "off", **settings.pop("addons", {})}
    fixed = {"target": "kubeconfig", "image": THERE, "database": {"kind": "url", "url": "postgresql://u@db/d"}}
    return StackConfig.model_validate({**fixed, **settings, "kubernetes": kubernetes, "addons": addons})


def found(settings: StackConfig, there: ClusterContext | None = None) -> list[Mistake]:
    return cluster_preflight.mistakes(settings, there or read_kubeconfig(settings.kubernetes), STACK)


def one(settings: StackConfig, there: ClusterContext | None = None) -> str:
    [mistake] = found(settings, there)
    return str(mistake)


@pytest.fixture
def admin() -> dict[str, Any]:
    return dict(yaml.safe_load(KUBECONFIG.read_text()))


def as_user(admin: dict[str, Any], user: dict[str, Any], **cluster: Any) -> ClusterContext:
    """Returns the cluster of the kubeconfig with another user or another address."""
    document = json.loads(json.dumps(admin))
    document["users"][0]["user"] = user or document["users"][0]["user"]
    document["clusters"][0]["cluster"].update(cluster)
    return read_kubeconfig(config().kubernetes, yaml.safe_dump(document))


def test_a_suitable_cluster_passes() -> None:
    assert found(config()) == []


def test_an_unreachable_address_is_reported(admin: dict[str, Any]) -> None:
    said = one(config(), as_user(admin, {}, server="https://127.0.0.1:9"))
    assert "headrace:kubernetes.kubeconfig: https://127.0.0.1:9 cannot be reached: " in said
    assert "refused" in said


def test_wrong_credentials_are_reported(admin: dict[str, Any]) -> None:
    said = one(config(), as_user(admin, {"token": "planted"}))
    assert "rejects its credentials; renew them" in said
    assert "planted" not in said


def test_a_wrong_certificate_authority_is_reported(admin: dict[str, Any]) -> None:
    other = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n").decode()
    said = one(config(), as_user(admin, {}, **{"certificate-authority-data": other}))
    assert "cannot be reached: SSLError" in said


@pytest.fixture
def stranger(kubectl: Kubectl, namespace: str, admin: dict[str, Any]) -> ClusterContext:
    """A service account without any right."""
    kubectl("create", "serviceaccount", "stranger", "-n", namespace)
    token = kubectl("create", "token", "stranger", "-n", namespace).strip()
    return as_user(admin, {"token": token})


def test_a_user_without_rights_is_reported(stranger: ClusterContext) -> None:
    said = one(config(), stranger)
    assert said.startswith("headrace:kubernetes.kubeconfig: its user may not create secrets, configmaps, ")
    assert "rayservices, namespaces, customresourcedefinitions" in said
    assert said.endswith("use a user with these permissions, such as cluster-admin")


def test_a_missing_addon_configured_as_existing_is_reported() -> None:
    said = one(config(database={}, addons={"postgres": {"existing": "cnpg"}}))
    assert said == (
        "headrace:addons.postgres: is configured as existing, but the cluster has no CRD clusters.postgresql.cnpg.io;"
        " install it first, or use auto"
    )


def test_a_missing_gateway_api_is_reported() -> None:
    ingress = {"kind": "gateway", "host": "a.example.com", "gateway": "infra/gw"}
    assert "headrace:ingress.gateway: is set, but the cluster has no CRD" in one(config(ingress=ingress))


def test_a_store_without_its_operator_is_reported() -> None:
    from_store = config(kubernetes={"external_secret": {"store": "vault", "key": "apps/headrace"}})
    assert one(from_store) == (
        "headrace:kubernetes.external_secret: is set, but the cluster has no CRD"
        " externalsecrets.external-secrets.io of version v1; install the External Secrets Operator, or remove it"
    )
    with definitions(EXTERNAL_SECRETS, "config/crds/bases/external-secrets.io_externalsecrets.yaml"):
        eventually(lambda: found(from_store) == [], "the cluster knows the kind")


def test_a_kubernetes_version_that_is_too_old_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_preflight, "KUBERNETES_AT_LEAST", (1, 99))
    said = one(config())
    assert "the cluster runs Kubernetes v1." in said
    assert "1.99 is the oldest that is supported" in said


@pytest.fixture
def no_default(kubectl: Kubectl) -> Iterator[None]:
    annotation = cluster_preflight.DEFAULT_CLASS
    kubectl("annotate", "storageclass", "shared", f"{annotation}=false", "--overwrite")
    yield
    kubectl("annotate", "storageclass", "shared", f"{annotation}=true", "--overwrite")


@pytest.mark.usefixtures("no_default")
def test_a_missing_default_storage_class_is_reported() -> None:
    said = one(config())
    assert said.startswith("headrace:kubernetes.storage_class: is missing, but the cluster has no default storage")
    assert "use one of" in said
    assert found(config(kubernetes={"storage_class": "shared"})) == []


def test_a_missing_storage_class_is_reported() -> None:
    said = one(config(kubernetes={"storage_class": "shred"}))
    assert said == "headrace:kubernetes.storage_class: there is no storage class 'shred'; did you mean 'shared'?"


def test_a_gpu_pool_without_gpus_is_reported() -> None:
    pools = [{"name": "serving"}, {"name": "gpu", "gpus": 1}]
    said = one(config(pools=pools, addons={"gpu": {"existing": "device-plugin"}}))
    assert said.startswith("headrace:pools[1].gpus: no node of pool 'gpu' offers 1 nvidia.com/gpu")


def test_a_pool_without_nodes_is_reported() -> None:
    pools = [{"name": "serving"}, {"name": "gpu", "gpus": 1, "node_selector": {"kind": "gpu"}}]
    assert "headrace:pools[1].node_selector: no node has kind=gpu" in one(config(pools=pools))


def test_a_namespace_of_another_owner_is_reported(namespace: str) -> None:
    said = one(config(kubernetes={"namespace": namespace}))
    assert f"the namespace '{namespace}' already exists, not created by this stack" in said


def checked(settings: StackConfig) -> list[str]:
    return [str(m) for m in image_check.mistakes(settings, read_kubeconfig(settings.kubernetes), STACK)]


def left(kubectl: Kubectl) -> list[str]:
    """Returns namespaces of checks that were not removed."""
    there = json.loads(kubectl("get", "namespaces", "-l", image_check.CHECK_LABEL, "-o", "json"))["items"]
    return [n["metadata"]["name"] for n in there if not n["metadata"].get("deletionTimestamp")]


def test_an_available_image_passes(kubectl: Kubectl) -> None:
    assert checked(config(addons={"kuberay": {"existing": "k", "namespace": "n"}})) == []
    assert left(kubectl) == []


@pytest.mark.parametrize(
    ("image", "why"),
    [
        ({"repository": "headrace/none", "tag": "1", "pull_policy": "Never"}, "not present"),
        ({"registry": "registry.invalid", "repository": "headrace/serving", "tag": "1"}, "registry.invalid"),
    ],
)
def test_an_image_that_cannot_be_pulled_is_reported(image: dict[str, str], why: str, kubectl: Kubectl) -> None:
    [said] = checked(config(image=image, addons={"kuberay": {"existing": "k", "namespace": "n"}}))
    assert said.startswith("headrace:image: the cluster cannot pull ")
    assert why in said
    assert said.endswith("push it, correct its name or digest, or set image.pull_secrets")
    assert left(kubectl) == []


def test_a_missing_pull_secret_is_reported(kubectl: Kubectl) -> None:
    [said] = checked(config(image={**THERE, "pull_secrets": ["registry"]}))
    assert said.startswith(
        f"headrace:image.pull_secrets[0]: namespace '{NAMESPACE}' has no Secret 'registry'; create it"
    )
    assert left(kubectl) == []


def bad_project(folder: Path) -> Project:
    """A stack whose image does not exist, and whose charts are in a folder."""
    pack_kuberay(folder / "charts")
    image = {"registry": "registry.invalid", "tag": "1"}
    settings = config(image=image, mirror={"charts": str(folder / "charts")})
    return Project.make(folder, settings.model_dump(mode="json", exclude_defaults=True))


def test_a_failed_check_leaves_the_cluster_unchanged(kubectl: Kubectl, tmp_path: Path) -> None:
    """The real `up` with one mistake leaves the cluster as it was."""
    project = bad_project(tmp_path)
    before = kubectl("get", "namespaces,customresourcedefinitions", "-o", "name").split()
    with pytest.raises(AssertionError) as raised:
        project.pulumi("up", "--yes", "--skip-preview")
    said = str(raised.value)
    assert "the configuration has 1 mistake" in said
    assert "headrace:image: the cluster cannot pull registry.invalid/headrace/serving:1" in said
    after = kubectl("get", "namespaces,customresourcedefinitions", "-o", "name").split()
    assert [name for name in after if name not in before and "headrace-preflight-" not in name] == []
    assert left(kubectl) == []
