"""GPU metrics come with every node that has GPUs, unless an operator brings them."""

from __future__ import annotations

import csv
from typing import Any

import pytest

from infra.addons import ADDONS
from infra.addons.dcgm import DCGM, counters
from infra.config import StackConfig
from infra.gpu.placement import place
from infra.layout import CHECKOUT
from monitoring.external import EXTERNAL
from tests.rendering.examples import stack_settings

GPUS = [{"name": "serving", "gpus": 1}]


def config(**settings: Any) -> StackConfig:
    return StackConfig.model_validate({"target": "kubeconfig", "image": {"tag": "1"}, "pools": GPUS, **settings})


def cloud(name: str, **changed: Any) -> StackConfig:
    """As it is planned: placed on its nodes, some of which advertise their GPUs themselves."""
    return place(StackConfig.model_validate(stack_settings(CHECKOUT / f"Pulumi.{name}.yaml") | changed))


def values(settings: StackConfig) -> dict[str, Any]:
    return DCGM.values(settings, DCGM.images(settings))


def nodes(settings: StackConfig) -> dict[str, Any]:
    required = values(settings)["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [[requirement]] = [term["matchExpressions"] for term in required["nodeSelectorTerms"]]
    found: dict[str, Any] = requirement
    return found


@pytest.mark.parametrize("name", ["aws", "gcp", "azure"])
def test_every_cloud_with_gpus_has_their_metrics(name: str) -> None:
    settings = cloud(name)
    assert DCGM.choice(settings) == "install"
    assert nodes(settings) == {"key": "headrace.io/node-pool", "operator": "In", "values": ["gpu"]}


@pytest.mark.parametrize("aws", [{"mode": "auto"}, {"image": "bottlerocket"}])
def test_nodes_that_advertise_their_gpus_have_metrics_too(aws: dict[str, str]) -> None:
    settings = stack_settings(CHECKOUT / "Pulumi.aws.yaml")
    assert DCGM.choice(cloud("aws", aws={**settings["aws"], **aws})) == "install"


def test_nodes_of_others_are_known_by_their_label() -> None:
    assert DCGM.choice(config()) == "install"
    assert nodes(config()) == {"key": "nvidia.com/gpu.present", "operator": "In", "values": ["true"]}


@pytest.mark.parametrize(
    "settings",
    [
        {"pools": [{"name": "serving"}]},
        {"addons": {"gpu_driver": "operator"}},
        {"addons": {"gpu": {"existing": "gpu-operator"}}},
        {"addons": {"monitoring": "off"}},
        {"addons": {"dcgm": "off"}},
    ],
)
def test_there_is_never_a_second_exporter_nor_one_that_nobody_reads(settings: dict[str, Any]) -> None:
    assert DCGM.choice(config(**settings)) == "off"


def test_autopilot_lets_no_pod_read_the_host() -> None:
    gcp = {"project": "example-project", "region": "europe-west4", "autopilot": True}
    assert DCGM.choice(config(target="gcp", gcp=gcp)) == "off"


def test_the_exporter_tolerates_what_nodes_with_gpus_have() -> None:
    own = [{"name": "serving", "gpus": 1, "tolerations": [{"key": "team"}]}]
    assert [t["key"] for t in values(config(pools=own))["tolerations"]] == ["nvidia.com/gpu", "team"]


def test_every_series_that_alerts_and_dashboards_use_is_exported() -> None:
    rows = list(csv.reader(counters().splitlines()))
    assert {len(row) for row in rows} == {3}, "the exporter refuses another number of fields"
    kinds = {name: kind.strip() for name, kind, _ in rows}
    assert kinds == {s.name: s.kind for s in EXTERNAL.values() if s.source == "dcgm"}
    assert kinds["DCGM_FI_DEV_XID_ERRORS"] == "gauge"
    assert values(config())["customMetrics"] == counters()


def test_the_driver_of_gke_is_mounted_beside_the_counters() -> None:
    made = values(cloud("gcp"))
    assert made["securityContext"] == {"privileged": True}
    assert made["extraHostVolumes"] == [{"name": "driver", "hostPath": "/home/kubernetes/bin/nvidia"}]
    mounts = {mount["name"]: mount["mountPath"] for mount in made["extraVolumeMounts"]}
    assert mounts == {
        "driver": "/usr/local/nvidia",
        "exporter-metrics-volume": "/etc/dcgm-exporter/default-counters.csv",
    }
    assert made["extraEnv"] == [{"name": "LD_LIBRARY_PATH", "value": "/usr/local/nvidia/lib64"}]
    assert "extraHostVolumes" not in values(cloud("aws"))


def test_a_quota_admits_pods_of_the_priority_of_nodes() -> None:
    quota = DCGM.quota()
    assert quota is not None
    [scope] = quota["scopeSelector"]["matchExpressions"]
    assert scope == {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
    assert [addon.name for addon in ADDONS if addon.quota() is not None] == ["dcgm"]
