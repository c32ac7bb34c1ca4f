import re
from pathlib import Path
from typing import Any

import pytest

from infra import versions
from infra.addons import ADDONS, postgres
from infra.addons.addon import chart_source, manifest_paths, registry_image, repository_image
from infra.cluster_config import Mirror
from infra.config import StackConfig
from infra.versions import CERTIFICATES, GPU_DEVICE_PLUGIN, GPU_OPERATOR, KUBERAY, KUBERAY_CRDS, Chart

BY_NAME = {addon.name: addon for addon in ADDONS}


def config(**settings: Any) -> StackConfig:
    return StackConfig.model_validate({"target": "kubeconfig", "image": {"tag": "1"}, **settings})


def installed(**settings: Any) -> set[str]:
    return {a.name for a in ADDONS if a.choice(config(**settings)) == "install"}


def test_auto_installs_what_the_stack_needs() -> None:
    assert installed() == {"kuberay", "monitoring", "postgres"}


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"pools": [{"name": "serving", "gpus": 1}]}, "gpu"),
        ({"ingress": {"kind": "gateway", "host": "a.b", "tls": {"secret": "t"}}}, "gateway"),
        ({"ingress": {"kind": "ingress", "host": "a.b", "tls": {"issuer": "i"}}}, "certificates"),
        ({"models": [{"name": "m", "engine": "kserve", "existing": "a/m"}], "assistants": []}, "kserve"),
    ],
)
def test_settings_that_require_an_addon(settings: dict[str, Any], name: str) -> None:
    assert name in installed(**settings)
    assert name not in installed()


def test_certificates_come_with_a_kserve_that_is_made() -> None:
    """Its webhook wants one; a KServe that is there already has its own."""
    kserve = {"models": [{"name": "m", "engine": "kserve", "existing": "a/m"}], "assistants": []}
    assert "certificates" in installed(**kserve)
    assert "certificates" not in installed(**kserve, addons={"kserve": {"existing": "k"}})


def test_explicit_choices_are_respected() -> None:
    said = {"kuberay": {"existing": "k", "namespace": "ray"}, "monitoring": False, "gpu": "install"}
    assert installed(addons=said) == {"gpu", "postgres"}
    assert BY_NAME["kuberay"].choice(config(addons=said)) == "existing"
    assert BY_NAME["monitoring"].choice(config(addons=said)) == "off"


def test_a_database_by_url_needs_no_operator() -> None:
    assert "postgres" not in installed(database={"kind": "url", "url": "postgresql://u@h/d"})


def test_dependencies_are_installed_first() -> None:
    names = [a.name for a in ADDONS]
    for addon in ADDONS:
        assert all(names.index(other) < names.index(addon.name) for other in addon.after)
        assert hasattr(config().addons, addon.name)


def test_an_addon_is_named_as_a_release_of_helm_may_be() -> None:
    assert [addon.name for addon in ADDONS if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", addon.name)] == []


def test_the_driver_has_one_owner() -> None:
    pools = [{"name": "serving", "gpus": 1}]
    gpu = BY_NAME["gpu"]
    assert gpu.chart(config(pools=pools)).name == "nvidia-device-plugin"
    assert gpu.chart(config(pools=pools, addons={"gpu_driver": "operator"})).name == "gpu-operator"


@pytest.mark.parametrize("addon", ADDONS, ids=lambda a: a.name)
def test_every_image_is_set_in_the_charts_values(addon: Any) -> None:
    """Else a mirror would not be asked for it."""
    for driver in ("host", "operator"):
        settings = config(
            pools=[{"name": "serving", "gpus": 1}],
            mirror={"images": {"docker.io": "m/d"}},
            addons={"gpu_driver": driver},
        )
        images = addon.images(settings)
        said = repr([addon.values(settings, images), addon.objects(settings)])
        unsaid = [n for n, i in images.items() if i.rpartition(":")[0].rpartition("/")[2] not in said]
        # CloudNativePG is told the database's image by the database.
        assert unsaid == (["database"] if addon.name == "postgres" else [])


@pytest.mark.parametrize(
    ("driver", "of_discovery"), [("host", "nfd"), ("operator", "node-feature-discovery")], ids=["plugin", "operator"]
)
def test_gpus_are_found_on_nodes_with_taints_of_their_own(driver: str, of_discovery: str) -> None:
    """Node feature discovery labels them for the others, and tolerates by default only a taint of its own choice."""
    pools = [{"name": "serving", "gpus": 1, "tolerations": [{"key": "team"}]}]
    settings = config(pools=pools, addons={"gpu_driver": driver})
    gpu = BY_NAME["gpu"]
    values = gpu.values(settings, gpu.images(settings))
    tolerated = values[of_discovery]["worker"]["tolerations"]
    assert tolerated == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "team", "operator": "Exists"},
    ]
    assert tolerated == (values if driver == "host" else values["daemonsets"])["tolerations"]


def test_gpus_are_found_on_spot_nodes_that_azure_taints() -> None:
    nodes = [{"name": "cpu"}, {"name": "spot", "accelerator": "t4", "gpus": 1, "capacity": "spot"}]
    settings = config(target="azure", node_pools=nodes)
    gpu = BY_NAME["gpu"]
    tolerated = gpu.values(settings, gpu.images(settings))["nfd"]["worker"]["tolerations"]
    assert "kubernetes.azure.com/scalesetpriority" in {t["key"] for t in tolerated}


def test_a_mirror_has_what_the_charts_of_gpus_pull_besides() -> None:
    """The charts' own values say which: a mirror that lacks one leaves its pod without an image."""
    pulled = {i.rpartition(":")[0].rpartition("/")[2] for i in [*GPU_OPERATOR.images.values()]}
    assert {"node-feature-discovery", "k8s-driver-manager", "k8s-mig-manager", "cuda"} <= pulled
    assert "nfd" in GPU_DEVICE_PLUGIN.images


def test_the_longest_prefix_wins() -> None:
    mirror = Mirror(images={"quay.io": "m/q", "quay.io/kuberay": "m/k", "docker.io/": "m/d/"})
    assert mirror.image("quay.io/kuberay/operator:v1") == "m/k/operator:v1"
    assert mirror.image("quay.io/other:1") == "m/q/other:1"
    assert mirror.image("quay.iox/other:1") == "quay.iox/other:1"
    assert mirror.image("docker.io/a:1") == "m/d/a:1"


def test_charts_come_from_their_repository_or_the_mirror(tmp_path: Path) -> None:
    assert chart_source(KUBERAY, Mirror()).repository == KUBERAY.location
    assert chart_source(CERTIFICATES, Mirror()).chart.startswith("oci://quay.io/")
    assert chart_source(KUBERAY, Mirror(charts="oci://m/c/")).chart == "oci://m/c/kuberay-operator"
    archive = chart_source(KUBERAY, Mirror(charts=str(tmp_path)))
    assert (archive.chart, archive.version) == (f"{tmp_path}/kuberay-operator-1.5.0.tgz", None)
    folder = Chart(name="c", version="1", source="path", location="charts/headrace")
    assert Path(chart_source(folder, Mirror()).chart).is_dir()


def test_crds_are_taken_from_the_mirror(tmp_path: Path) -> None:
    assert manifest_paths(KUBERAY_CRDS, Mirror())[0].startswith("https://")
    assert manifest_paths(KUBERAY_CRDS, Mirror(charts=str(tmp_path)))[0].startswith(str(tmp_path))
    assert BY_NAME["kuberay"].crds_step(config(mirror={"charts": "oci://m/c"})) is None
    assert BY_NAME["kuberay"].crds_step(config()) is KUBERAY_CRDS


def test_images_are_split_as_charts_expect() -> None:
    assert registry_image("quay.io/a/b:1") == {"registry": "quay.io", "repository": "a/b", "tag": "1"}
    assert repository_image("m.example.com:5000/a/b:1") == {"repository": "m.example.com:5000/a/b", "tag": "1"}


HIDDEN = {"crds", "kubeControllerManager", "kubeEtcd", "kubeProxy", "kubeScheduler"}


@pytest.mark.parametrize(
    ("settings", "off"),
    [
        ({}, HIDDEN),
        ({"target": "azure"}, HIDDEN),
        ({"target": "aws"}, HIDDEN),
        ({"target": "aws", "aws": {"mode": "auto"}}, HIDDEN | {"coreDns"}),
        ({"target": "gcp"}, HIDDEN | {"coreDns"}),
    ],
    ids=["a cluster of others", "azure", "aws", "aws in auto mode", "gcp"],  # a set's repr differs between processes
)
def test_what_a_cluster_does_not_show_is_not_monitored(settings: dict[str, Any], off: set[str]) -> None:
    monitoring = BY_NAME["monitoring"]
    values = monitoring.values(config(**settings), monitoring.images(config(**settings)))
    assert {name for name, value in values.items() if isinstance(value, dict) and not value.get("enabled", True)} == off


@pytest.mark.parametrize(("instances", "budget"), [(1, False), (2, True), (3, True)])
def test_a_single_database_does_not_stop_the_upgrade_of_its_node(instances: int, budget: bool) -> None:
    """CloudNativePG's budget keeps one primary; from two instances on, the operator moves it from a cordoned node."""
    assert postgres.cluster(config(database={"instances": instances}))["enablePDB"] is budget


def reached(spec: dict[str, Any]) -> dict[str, list[int]]:
    """Returns the ports that each peer of a NetworkPolicy reaches; none: all."""
    return {repr(rule["from"][0]): [p["port"] for p in rule.get("ports", [])] for rule in spec["ingress"]}


def test_the_database_is_closed_to_other_namespaces() -> None:
    spec = postgres.network_policy(config())
    assert spec["policyTypes"] == ["Ingress"]
    assert reached(spec) == {
        "{'podSelector': {'matchLabels': {'cnpg.io/cluster': 'headrace-db'}}}": [],
        "{'podSelector': {}}": [5432],
        "{'namespaceSelector': {'matchLabels': {'kubernetes.io/metadata.name': 'cnpg-system'}}}": [8000, 5432],
        "{'namespaceSelector': {'matchLabels': {'kubernetes.io/metadata.name': 'monitoring'}}}": [9187],
    }
    elsewhere = {"postgres": {"existing": "cnpg"}, "monitoring": False}
    unknown = postgres.network_policy(config(addons=elsewhere))
    assert reached(unknown)["{'namespaceSelector': {}}"] == [8000]
    assert len(unknown["ingress"]) == 3


def test_kuberay_has_one_version() -> None:
    """Its definitions, its operator and its chart come from one release: a newer operator reads fields of its own."""
    assert KUBERAY.version == KUBERAY_CRDS.version
    assert KUBERAY.images == {"operator": f"quay.io/kuberay/operator:v{KUBERAY.version}"}
    assert f"/kuberay/v{KUBERAY.version}/" in KUBERAY_CRDS.location


def test_every_chart_of_others_is_pinned() -> None:
    """A range or a moving tag would change the add-on without a change of the stack."""
    charts = [c for c in vars(versions).values() if isinstance(c, Chart) and c.source != "path"]
    assert len(charts) > 8
    assert [c.name for c in charts if not re.fullmatch(r"v?\d+\.\d+\.\d+", c.version)] == []
    moving = [i for c in charts for i in c.images.values() if not re.search(r":[\w.-]*\d[\w.-]*$", i)]
    assert moving == []
