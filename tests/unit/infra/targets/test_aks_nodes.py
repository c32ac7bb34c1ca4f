"""Node pools in Azure's own words, field by field."""

from __future__ import annotations

from typing import Any

import pulumi
import pytest
from pulumi_azure_native.containerservice import AgentPoolArgs

from infra.cloud_config import Cluster
from infra.nodes import accelerators
from infra.nodes.pools import NodePool, Sharing, Taint
from infra.targets.azure.nodes import IMMUTABLE, agent_pool, system_pool

A100: dict[str, Any] = {"name": "gpu", "accelerator": "a100-80gb-pcie", "gpus": 1}
RESERVATION = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/capacityReservationGroups/gpus"
SPOT = "kubernetes.azure.com/scalesetpriority"

CPU: dict[str, Any] = {
    "resource_group_name": "rg",
    "resource_name": "headrace",
    "agent_pool_name": "cpu",
    "mode": "User",
    "type": "VirtualMachineScaleSets",
    "orchestrator_version": "1.35",
    "vm_size": "Standard_D4s_v5",
    "count": 1,
    "enable_auto_scaling": False,
    "scale_set_priority": "Regular",
    "node_labels": {"headrace.io/node-pool": "cpu"},
    "node_taints": [],
    "os_type": "Linux",
    "os_sku": "Ubuntu",
    "os_disk_type": "Managed",
    "os_disk_size_gb": 200,
    "max_pods": 110,
    "vnet_subnet_id": "subnet",
    "enable_node_public_ip": False,
    "enable_encryption_at_host": True,
    "upgrade_settings": {"max_surge": "10%", "max_unavailable": "0", "drain_timeout_in_minutes": 30},
    "tags": {"team": "llm"},
}
"""Of a pool without any settings."""

GPU: dict[str, Any] = {
    **CPU,
    "agent_pool_name": "gpu",
    "vm_size": "Standard_NC24ads_A100_v4",
    "gpu_profile": {"driver": "Install"},
    "node_labels": {"headrace.io/node-pool": "gpu"},
    "node_taints": ["nvidia.com/gpu=present:NoSchedule"],
    "enable_encryption_at_host": False,
    "upgrade_settings": {"max_surge": "0", "max_unavailable": "1", "drain_timeout_in_minutes": 30},
}
"""Of a pool with nothing but GPUs."""


def azure_values(args: Any) -> Any:
    """What is set in a tree of arguments, by the SDK's own names."""
    if isinstance(args, dict):
        return {k: azure_values(v) for k, v in args.items() if v is not None}
    if not pulumi._types.is_input_type(type(args)):
        return args
    return {
        name: azure_values(value)
        for name, value in ((n, getattr(args, n)) for n in pulumi._types.input_type_py_to_pulumi_names(type(args)))
        if value is not None
    }


@pytest.fixture(autouse=True)
def slices(monkeypatch: pytest.MonkeyPatch) -> None:
    key = A100["accelerator"]
    gpu = accelerators._BY_KEY[key]
    monkeypatch.setitem(
        accelerators._BY_KEY,
        key,
        type(gpu)(gpu.key, gpu.product, gpu.memory_bytes, gpu.capability, mig=(accelerators.Slice("1g.10gb", 7),)),
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "cpu"}, CPU),
        (
            {"name": "cpu", "min_nodes": 0, "max_nodes": 3},
            {**CPU, "count": 0, "enable_auto_scaling": True, "min_count": 0, "max_count": 3},
        ),
        ({"name": "cpu", "min_nodes": 3, "max_nodes": 3}, {**CPU, "count": 3}),
        (
            {"name": "cpu", "machine_type": "Standard_D4s_v5", "disk_gib": 64, "zones": ("1", "2")},
            {**CPU, "os_disk_size_gb": 64, "availability_zones": ["1", "2"]},
        ),
        (
            {
                "name": "cpu",
                "labels": {"team": "llm"},
                "taints": (Taint(key="a", value="b", effect="NoExecute"), Taint(key="c")),
            },
            {
                **CPU,
                "node_labels": {"headrace.io/node-pool": "cpu", "team": "llm"},
                "node_taints": ["a=b:NoExecute", "c=:NoSchedule"],
            },
        ),
        (A100, GPU),
        ({**A100, "driver": "cloud"}, GPU),
        ({**A100, "driver": "operator"}, {**GPU, "gpu_profile": {"driver": "None"}}),
        ({**A100, "sharing": Sharing(kind="time_slicing", replicas=4)}, GPU),
        ({**A100, "sharing": Sharing(kind="mps", replicas=4)}, GPU),
        ({**A100, "sharing": Sharing(kind="mig", profile="1g.10gb")}, {**GPU, "gpu_instance_profile": "MIG1g"}),
        (
            {**A100, "capacity": "reserved", "reservation": RESERVATION},
            {**GPU, "capacity_reservation_group_id": RESERVATION},
        ),
        (
            {**A100, "capacity": "spot"},
            {
                **{k: v for k, v in GPU.items() if k != "upgrade_settings"},
                "scale_set_priority": "Spot",
                "scale_set_eviction_policy": "Delete",
                "spot_max_price": -1,
                "node_labels": {"headrace.io/node-pool": "gpu", SPOT: "spot"},
                "node_taints": [f"{SPOT}=spot:NoSchedule", "nvidia.com/gpu=present:NoSchedule"],
            },
        ),
    ],
    ids=[
        "plain",
        "autoscaled from zero",
        "three",
        "machine, disk and zones",
        "labels and taints",
        "gpu",
        "driver of the cloud",
        "driver of the operator",
        "time slices",
        "mps",
        "mig",
        "reserved",
        "spot",
    ],
)
def test_a_pool_becomes_an_agent_pool(settings: dict[str, Any], expected: dict[str, Any]) -> None:
    made = agent_pool(NodePool(**settings), Cluster(kubernetes_version="1.35"), "rg", "headrace", "subnet", CPU["tags"])
    assert azure_values(made) == expected


def test_the_system_pool_runs_only_aks_add_ons() -> None:
    made = azure_values(system_pool(Cluster(), "subnet", {}))
    assert made["node_taints"] == ["CriticalAddonsOnly=true:NoSchedule"]
    assert (made["name"], made["mode"], made["count"], made["os_sku"]) == ("system", "System", 2, "Ubuntu")
    assert made["enable_node_public_ip"] is False


def test_immutable_settings_have_names_of_the_provider() -> None:
    known = pulumi._types.input_type_py_to_pulumi_names(AgentPoolArgs).values()
    assert set(IMMUTABLE) <= set(known)
