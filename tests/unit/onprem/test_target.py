"""The plan of a cluster of your own machines: its resources, their order, and what is secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks, rpc
from pulumi.runtime.stack import run_pulumi_func

from infra.onprem_config import OnPrem
from infra.providers.__main__ import KINDS
from infra.resources.provisioned_cluster import ProvisionedCluster
from infra.targets.onprem import provision_onprem
from tests.rendering.event_loop import event_loop

HOSTS: list[dict[str, Any]] = [
    *({"name": f"cp{n}", "address": f"192.168.7.1{n}", "role": "control_plane"} for n in (1, 2, 3)),
    {"name": "w1", "address": "192.168.7.21", "pool": "cpu"},
    {"name": "g1", "address": "192.168.7.31", "gpus": 2, "accelerator": "l4"},
]
SUMS = dict.fromkeys(("kubeadm", "kubelet", "kubectl"), "0" * 64)


class Monitor(mocks.MockMonitor):
    """Records what is registered."""

    def __init__(self) -> None:
        super().__init__(Echo())
        self.made: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:
        self.made[request.name] = {
            "token": request.type,
            "inputs": rpc.deserialize_properties(request.object, keep_unknowns=True),
            "after": {urn.split("::")[-1] for urn in request.dependencies},
            "secret": list(request.additionalSecretOutputs),
            "parent": request.parent.split("::")[-1],
        }
        return super().RegisterResource(request)


class Echo(mocks.Mocks):
    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        return args.name, {**args.inputs, "kubeconfig": "planted", "identifier": "0123"}

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        raise AssertionError(f"the program calls {args.token}")


Planned = tuple[dict[str, Any], ProvisionedCluster]


@pytest.fixture
def plan() -> Callable[..., Planned]:
    def run(hosts: list[dict[str, Any]] = HOSTS, **more: Any) -> Planned:
        three = sum(h.get("role") == "control_plane" for h in hosts) == 3
        given = {"hosts": hosts, "checksums": SUMS, **({"virtual_ip": "192.168.7.10"} if three else {}), **more}
        settings, monitor = OnPrem.model_validate(given), Monitor()
        made: list[ProvisionedCluster] = []
        with event_loop() as loop:
            mocks.set_mocks(Echo(), project="headrace", stack="prod", preview=False, monitor=monitor)
            loop.run_until_complete(run_pulumi_func(lambda: made.append(provision_onprem(settings, "prod"))))
        return monitor.made, made[0]

    return run


def test_every_host_is_a_machine_and_a_node(plan: Callable[..., Planned]) -> None:
    made, _ = plan()
    names = ("cp1", "cp2", "cp3", "w1", "g1")
    nodes = {f"{kind}-{name}" for kind in ("machine", "node") for name in names}
    assert made.keys() - {"prod", "headrace-prod"} == {"onprem", "cluster", *nodes}
    assert {made[name]["parent"] for name in (*nodes, "cluster")} == {"onprem"}
    assert {made[name]["token"] for name in (*nodes, "cluster")} <= KINDS.keys()


def test_nodes_join_after_the_cluster_exists(plan: Callable[..., Planned]) -> None:
    """The first control plane makes the cluster; the others join one after the other, then the workers at once."""
    made, _ = plan()
    machines = {name for name in made if name.startswith("machine-")}
    assert made["node-cp1"]["after"] == {"machine-cp1"}
    assert made["cluster"]["after"] == {"node-cp1", *machines}
    assert made["node-cp2"]["after"] == {"machine-cp2", "cluster", "node-cp1"}
    assert made["node-cp3"]["after"] == {"machine-cp3", "cluster", "node-cp2"}
    for name in ("w1", "g1"):
        assert made[f"node-{name}"]["after"] == {f"machine-{name}", "cluster", "node-cp3"}


def test_the_kubeconfig_is_secret(plan: Callable[..., Planned]) -> None:
    made, provisioned = plan()
    assert made["cluster"]["secret"] == ["kubeconfig"]
    assert "kubeconfig" in KINDS["headrace:index:KubernetesCluster"].secret_outputs
    assert isinstance(provisioned.kubeconfig, pulumi.Output)


def test_nodes_have_their_hosts_settings(plan: Callable[..., Planned]) -> None:
    made, _ = plan()
    gpu, worker, plane = (made[f"node-{name}"]["inputs"] for name in ("g1", "w1", "cp2"))
    assert gpu["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    assert worker["labels"] == {"headrace.io/node-pool": "cpu"}
    assert worker["taints"] == []
    assert plane["taints"][0]["key"] == "node-role.kubernetes.io/control-plane"
    assert plane["configuration"]["names"] == [f"192.168.7.1{n}" for n in (0, 1, 2, 3)]
    assert plane["endpoint"] == "192.168.7.10"
    assert [p["name"] for p in worker["control_planes"]] == ["cp1", "cp2", "cp3"]


def test_only_control_planes_share_the_virtual_ip(plan: Callable[..., Planned]) -> None:
    made, _ = plan()
    assert made["machine-cp1"]["inputs"]["virtual_ip"] == "192.168.7.10"
    assert made["machine-w1"]["inputs"]["virtual_ip"] == ""
    single, _ = plan(HOSTS[:1])
    assert single["machine-cp1"]["inputs"]["virtual_ip"] == ""
    assert single["node-cp1"]["inputs"]["endpoint"] == "192.168.7.11"
    assert single["node-cp1"]["inputs"]["taints"] == []


def test_volumes_are_where_pods_are(plan: Callable[..., Planned]) -> None:
    made, provisioned = plan()
    assert provisioned.storage_class == ""
    assert made["node-w1"]["inputs"]["volumes"] == {}
    made, provisioned = plan(storage={"kind": "local", "volumes": 2, "size": "5Gi"})
    assert provisioned.storage_class == "headrace-local"
    expected = {"path": "/var/lib/headrace-volumes", "count": 2, "size": "5Gi"}
    assert made["node-w1"]["inputs"]["volumes"] == expected
    assert made["node-cp1"]["inputs"]["volumes"] == {}
    assert "StorageClass" in made["cluster"]["inputs"]["manifests"][1]
