"""Converts node pools to agent pools of AKS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pulumi import Input
from pulumi_azure_native import containerservice

from infra.cloud_config import Cluster
from infra.nodes.pools import NodePool
from infra.targets.azure import limits
from infra.targets.azure.machines import DEFAULT

OS = "Ubuntu"
"""The operating system that NVIDIA's GPU operator supports, of which a cluster can have only one."""

IMMUTABLE = (
    "availabilityZones",
    "capacityReservationGroupID",
    "enableEncryptionAtHost",
    "gpuInstanceProfile",
    "gpuProfile",
    "maxPods",
    "osDiskSizeGB",
    "osDiskType",
    "scaleSetPriority",
    "vmSize",
    "vnetSubnetID",
)
"""Properties that cannot be changed: a new value replaces the pool."""


def constructor_arguments(args: containerservice.AgentPoolArgs | containerservice.ManagedClusterArgs) -> dict[str, Any]:
    """Converts `args` to keyword arguments, with `resource_name_` for the name in Azure.

    With the args object itself, pulumi-azure-native 3.29.0 passes `resource_name`, the name in Pulumi, twice.
    """
    arguments = dict(vars(args))
    arguments["resource_name_"] = arguments.pop("resource_name")
    return arguments


def agent_pool(
    pool: NodePool,
    cluster: Cluster,
    group: Input[str],
    cluster_name: Input[str],
    subnet: Input[str],
    tags: Mapping[str, str],
) -> containerservice.AgentPoolArgs:
    """Returns the agent pool of a node pool in the cluster `cluster_name` and the resource group `group`."""
    spot = pool.capacity == "spot"
    machine = pool.machine("azure")
    return containerservice.AgentPoolArgs(
        resource_group_name=group,
        resource_name=cluster_name,
        agent_pool_name=pool.name,
        mode="User",
        type="VirtualMachineScaleSets",
        orchestrator_version=cluster.kubernetes_version,
        vm_size=machine.name if machine else pool.machine_type,
        count=pool.min_nodes,
        enable_auto_scaling=pool.autoscaled,
        min_count=pool.min_nodes if pool.autoscaled else None,
        max_count=pool.max_nodes if pool.autoscaled else None,
        scale_set_priority="Spot" if spot else "Regular",
        scale_set_eviction_policy="Delete" if spot else None,
        spot_max_price=-1 if spot else None,  # up to the on-demand price: never evicted for price reasons
        capacity_reservation_group_id=pool.reservation or None,
        availability_zones=list(pool.zones) or None,
        gpu_profile=_gpu_profile(pool),
        gpu_instance_profile=limits.instance_profile(pool),
        node_labels=limits.labels(pool),
        node_taints=[f"{t.key}={t.value}:{t.effect}" for t in limits.taints(pool)],
        os_type="Linux",
        os_sku=OS,
        os_disk_type="Managed",
        os_disk_size_gb=pool.root_disk_gib,
        max_pods=limits.MAX_PODS,
        vnet_subnet_id=subnet,
        enable_node_public_ip=False,
        # Disks are always encrypted; some machine types with GPUs do not support encryption at the host.
        enable_encryption_at_host=not pool.gpus,
        upgrade_settings=_upgrade_settings(pool),
        tags=tags,
    )


def system_pool(
    cluster: Cluster, subnet: Input[str], tags: Mapping[str, str]
) -> containerservice.ManagedClusterAgentPoolProfileArgs:
    """Returns the agent pool for AKS' own add-ons, which is created with the cluster."""
    return containerservice.ManagedClusterAgentPoolProfileArgs(
        name=limits.SYSTEM,
        mode="System",
        type="VirtualMachineScaleSets",
        orchestrator_version=cluster.kubernetes_version,
        vm_size=DEFAULT,
        count=limits.SYSTEM_NODES,
        node_taints=["CriticalAddonsOnly=true:NoSchedule"],
        os_type="Linux",
        os_sku=OS,
        os_disk_type="Managed",
        max_pods=limits.MAX_PODS,
        vnet_subnet_id=subnet,
        enable_node_public_ip=False,
        enable_encryption_at_host=True,
        upgrade_settings=containerservice.AgentPoolUpgradeSettingsArgs(max_surge="1"),
        tags=tags,
    )


def _gpu_profile(pool: NodePool) -> containerservice.GPUProfileArgs | None:
    if not pool.gpus:
        return None
    return containerservice.GPUProfileArgs(driver="Install" if pool.driver_owner == "cloud" else "None")


def _upgrade_settings(pool: NodePool) -> containerservice.AgentPoolUpgradeSettingsArgs | None:
    """Returns the upgrade settings: without surge nodes if capacity is scarce, and none for spot nodes."""
    if pool.capacity == "spot":
        return None
    surge = ("0" if limits.is_scarce(pool) else f"{limits.SURGE_PERCENT}%") if pool.surge is None else str(pool.surge)
    return containerservice.AgentPoolUpgradeSettingsArgs(
        max_surge=surge,
        max_unavailable="1" if surge == "0" else "0",
        drain_timeout_in_minutes=30,
    )
