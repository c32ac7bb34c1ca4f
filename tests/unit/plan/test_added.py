"""A cloud and a platform add-on that are registered are planned as those that are there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pulumi
import pytest
import yaml
from pulumi import Output, ResourceOptions

from infra import config_loader
from infra.addons import ADDONS
from infra.addons.addon import Addon
from infra.cloud_config import Cluster
from infra.cluster_config import Addons, Choice
from infra.config import StackConfig
from infra.gpu.placement import NODE_POOL_RULES, _rules_of
from infra.mistakes import Mistake
from infra.nodes import prices
from infra.nodes.machines import MachineType
from infra.nodes.pools import POOL_LABEL, NodePool
from infra.nodes.prices import PriceTable
from infra.nodes.resources import GIB, Resources
from infra.resources.cloud_stack import CloudStack
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets import kubernetes_stack
from infra.versions import Chart
from serving.config import Strict
from tests.rendering.examples import KUBECONFIG

Planner = Callable[..., Any]


class Nimbus(Strict):
    zone: str = ""


class WithNimbus(StackConfig):
    target: Literal["local", "kubeconfig", "nimbus"] = "local"
    nimbus: Nimbus = Nimbus()


class NimbusCluster(pulumi.ComponentResource):
    def __init__(self, settings: Nimbus, pools: Sequence[NodePool]) -> None:
        super().__init__("headrace:nimbus:Cluster", "nimbus")
        self.pools = [
            pulumi.CustomResource(f"nimbus:{settings.zone}:Pool", pool.name, {}, ResourceOptions(parent=self))
            for pool in pools
        ]


def provision(stack: CloudStack[Nimbus]) -> ProvisionedCluster:
    made = NimbusCluster(stack.settings, stack.pools)
    return ProvisionedCluster(Output.secret("a kubeconfig"), stack.name, made, made.pools, storage_class="mist")


def mistakes(settings: Nimbus, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
    return [] if settings.zone else [Mistake("nimbus.zone", "is missing", "name one")]


@pytest.fixture
def nimbus(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ModuleType("infra.targets.nimbus")
    vars(folder).update(SDK="pulumi")
    monkeypatch.setitem(sys.modules, "infra.targets.nimbus", folder)
    plans = ModuleType("infra.targets.nimbus.provision")
    vars(plans).update(provision=provision)
    monkeypatch.setitem(sys.modules, "infra.targets.nimbus.provision", plans)
    rules = ModuleType("infra.targets.nimbus.limits")
    vars(rules).update(
        mistakes=mistakes,
        advertises=lambda settings, pool: bool(pool.gpus),
        allocatable=lambda machine, disk_gib: Resources(
            machine.vcpus * 1000, machine.memory_gib * GIB, disk_gib * GIB, pods=110
        ),
        NODE_PODS=Resources(cpu=1000),
        STORE="nimbus://",
        system_pods=lambda settings: (("drizzle", Resources(cpu=500)),),
    )
    monkeypatch.setitem(sys.modules, "infra.targets.nimbus.limits", rules)
    made = [MachineType("nimbus", "gust", 8, 32, "l4", 1), MachineType("nimbus", "breeze", 4, 16)]
    catalogue = ModuleType("infra.targets.nimbus.machines")
    vars(catalogue).update(MACHINES=made, DEFAULT="breeze")
    monkeypatch.setitem(sys.modules, "infra.targets.nimbus.machines", catalogue)
    nobody = PriceTable(as_of=date(2026, 1, 1), currency="USD", source="nobody sells it", prices=())
    monkeypatch.setattr(prices, "listed", lambda cloud: nobody)
    monkeypatch.setitem(NODE_POOL_RULES, "nimbus", _rules_of("nimbus"))
    monkeypatch.setattr(config_loader, "StackConfig", WithNimbus)
    # These two follow from the field of StackConfig and from the cloud's name in `Cloud`.
    monkeypatch.setattr(config_loader, "STRUCTURED", config_loader.STRUCTURED | {"nimbus"})
    belongs = {setting: (*targets, "nimbus") for setting, targets in config_loader.SETTING_TARGETS.items()}
    monkeypatch.setattr(config_loader, "SETTING_TARGETS", belongs)


CLOUDY = {
    "target": "nimbus",
    "nimbus": {"zone": "high"},
    "image": {"tag": "1"},
    "node_pools": [{"name": "wet", "accelerator": "l4", "gpus": 1, "driver": "cloud"}, {"name": "dry"}],
    "pools": [{"name": "serving", "node_pool": "wet", "gpus": 1}],
}


@pytest.mark.usefixtures("nimbus")
def test_a_cloud_is_planned_with_the_stack_on_it(plan: Planner) -> None:
    planned = plan(CLOUDY, stack="example")
    assert {"nimbus", "wet", "dry"} <= planned.resources.keys()
    assert planned["wet"].token == "nimbus:high:Pool"
    assert {"wet", "dry"} <= set(planned["namespace"].dependencies)
    values = planned["headrace"].inputs["values"]
    assert "mist" in repr(values)
    assert values["pools"]["serving"]["nodeSelector"] == {POOL_LABEL: "wet"}
    # The cloud advertises the GPUs itself: nothing that does is installed.
    assert "gpu" not in planned.resources


@pytest.mark.usefixtures("nimbus")
def test_pods_must_fit_on_a_clouds_machines(plan: Planner) -> None:
    with pytest.raises(pulumi.RunError, match=r"worker 1 of pool 'serving'"):
        plan(CLOUDY | {"pools": [{"name": "serving", "node_pool": "wet", "gpus": 1, "cpus": 7.5}]}, stack="example")


@pytest.mark.usefixtures("nimbus")
def test_cloud_limits_are_checked_before_any_resource(plan: Planner) -> None:
    with pytest.raises(pulumi.RunError, match=r"headrace:nimbus\.zone: is missing; name one"):
        plan(CLOUDY | {"nimbus": {}}, stack="example")


class MoreAddons(Addons):
    tides: Choice = "auto"


class WithTides(StackConfig):
    addons: MoreAddons = MoreAddons()


TIDES = Addon(
    name="tides",
    namespace="tide-system",
    needed=lambda config: config.ingress.kind == "ingress",
    chart=lambda _: Chart("tides", "1.2.3", "repo", "https://charts.example.com", {"main": "ghcr.io/tides/tides:1"}),
    values=lambda config, images: {"image": images["main"]},
    kinds=("tides.example.com",),
    after=("kuberay",),
)


@pytest.mark.parametrize(
    ("settings", "installed"),
    [({}, False), ({"ingress": {"kind": "ingress", "host": "a.b", "tls": {"secret": "t"}}}, True)],
)
def test_an_addon_is_installed_where_it_is_needed(
    settings: dict[str, Any], installed: bool, plan: Planner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(config_loader, "StackConfig", WithTides)
    monkeypatch.setattr(kubernetes_stack, "ADDONS", (*ADDONS, TIDES))
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(KUBECONFIG))
    there = {"kubeconfig": str(kubeconfig), "preflight": False}
    stack = {"target": "kubeconfig", "image": {"tag": "1"}, "kubernetes": there}
    planned = plan(stack | settings, stack="example")
    assert ("tides" in planned.resources) == installed
    if installed:
        release = planned["kubernetes:helm.sh/v3:Release tides"].inputs
        assert (release["chart"], release["version"]) == ("tides", "1.2.3")
        assert release["values"] == {"image": "ghcr.io/tides/tides:1"}
        assert planned["tides-namespace"].inputs["metadata"]["name"] == "tide-system"
