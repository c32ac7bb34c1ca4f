"""Converts node pools to the arguments of GKE node pools."""

from __future__ import annotations

from collections.abc import Mapping

from pulumi import Input
from pulumi_gcp import container

from infra.nodes.accelerators import accelerator_by_key
from infra.nodes.machines import MachineType
from infra.nodes.pools import EFFECTS, GPU, NodePool
from infra.targets.gcp import limits
from infra.targets.gcp.settings import Gcp

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
"""All scopes; the permissions of nodes are limited by the roles of their service account."""

METADATA = {"disable-legacy-endpoints": "true"}

NEWER_DRIVERS_LACK = "nvidia-tesla-v100"
"""The GPU that drivers after version 580 do not support (https://docs.nvidia.com/datacenter/tesla/drivers/)."""

SHARING = {"time_slicing": "TIME_SHARING", "mps": "MPS"}


def node_pool(
    pool: NodePool, settings: Gcp, cluster: Input[str], account: Input[str], labels: Mapping[str, str]
) -> container.NodePoolArgs:
    """Returns a pool of the cluster `cluster`, whose nodes use the service account `account` (e-mail)."""
    return container.NodePoolArgs(
        name=pool.name,
        cluster=cluster,
        location=settings.region,
        node_locations=list(pool.zones) or None,
        # GKE counts nodes per zone, the configuration in total.
        node_count=None if pool.autoscaled else pool.max_nodes // limits.node_zones(pool),
        initial_node_count=_initial_node_count(pool) if pool.autoscaled else None,
        autoscaling=_autoscaling(pool) if pool.autoscaled else None,
        # Queued capacity must not be lost because a node seems unhealthy for a while.
        management=container.NodePoolManagementArgs(auto_repair=pool.capacity != "queued", auto_upgrade=True),
        upgrade_settings=_upgrade_settings(pool),
        node_config=_node_config(pool, settings, account, labels),
    )


def _initial_node_count(pool: NodePool) -> int:
    """Returns the initial number of nodes per zone, so that at least `min_nodes` exist from the start."""
    zones = limits.node_zones(pool)
    return min(-(-pool.min_nodes // zones), pool.max_nodes // zones)


def _autoscaling(pool: NodePool) -> container.NodePoolAutoscalingArgs:
    """Returns the autoscaling settings; scarce capacity may come from any zone."""
    scarce = pool.gpus or pool.capacity != "on_demand"
    return container.NodePoolAutoscalingArgs(
        total_min_node_count=pool.min_nodes,
        total_max_node_count=pool.max_nodes,
        location_policy="ANY" if scarce else "BALANCED",
    )


def _upgrade_settings(pool: NodePool) -> container.NodePoolUpgradeSettingsArgs | None:
    """Returns how many nodes an upgrade adds; without any, it replaces one at a time."""
    if pool.capacity == "queued":
        return None
    surge = pool.upgrade_surge
    return container.NodePoolUpgradeSettingsArgs(max_surge=surge, max_unavailable=0 if surge else 1)


def _node_config(
    pool: NodePool, settings: Gcp, account: Input[str], labels: Mapping[str, str]
) -> container.NodePoolNodeConfigArgs:
    machine = pool.machine("gcp")
    operator = bool(pool.gpus) and pool.driver_owner == "operator"
    return container.NodePoolNodeConfigArgs(
        machine_type=machine.name if machine else pool.machine_type,
        # NVIDIA's operator builds its driver on Ubuntu, without a signature that secure boot accepts.
        image_type="UBUNTU_CONTAINERD" if operator else "COS_CONTAINERD",
        shielded_instance_config=container.NodePoolNodeConfigShieldedInstanceConfigArgs(
            enable_secure_boot=not operator, enable_integrity_monitoring=True
        ),
        disk_size_gb=pool.root_disk_gib,
        ephemeral_storage_local_ssd_config=_local_ssds(machine),
        service_account=account,
        oauth_scopes=list(SCOPES),
        metadata=METADATA,
        workload_metadata_config=container.NodePoolNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA"),
        gcfs_config=container.NodePoolNodeConfigGcfsConfigArgs(enabled=settings.image_streaming and not operator),
        labels={**pool.node_labels, **({limits.NO_DEVICE_PLUGIN: "true"} if operator else {})},
        resource_labels=dict(labels),
        taints=_taints(pool),
        guest_accelerators=[_accelerator(pool)] if pool.gpus else None,
        spot=pool.capacity == "spot",
        # Queued provisioning itself requires ProvisioningRequests, which Ray's pods do not create.
        flex_start=True if pool.capacity == "queued" else None,
        reservation_affinity=_reservation(pool),
    )


def _local_ssds(machine: MachineType | None) -> container.NodePoolNodeConfigEphemeralStorageLocalSsdConfigArgs | None:
    """Returns that images and files of pods are on the machine's local SSDs, of which GKE takes all or none."""
    if machine is None or not machine.local_ssds:
        return None
    return container.NodePoolNodeConfigEphemeralStorageLocalSsdConfigArgs(local_ssd_count=machine.local_ssds)


def _taints(pool: NodePool) -> list[container.NodePoolNodeConfigTaintArgs]:
    """Returns the taints without that for GPUs, which GKE adds itself and rejects as an argument."""
    return [
        container.NodePoolNodeConfigTaintArgs(key=t.key, value=t.value, effect=EFFECTS[t.effect])
        for t in pool.node_taints
        if t.key != GPU
    ]


def _accelerator(pool: NodePool) -> container.NodePoolNodeConfigGuestAcceleratorArgs:
    gpu = accelerator_by_key(pool.accelerator)
    if gpu is None:
        raise ValueError(f"{pool.accelerator} is not in the catalogue of accelerators")
    sharing = pool.sharing
    return container.NodePoolNodeConfigGuestAcceleratorArgs(
        type=gpu.gke,
        count=pool.gpus,
        gpu_driver_installation_config=container.NodePoolNodeConfigGuestAcceleratorGpuDriverInstallationConfigArgs(
            gpu_driver_version=_driver_version(pool, gpu.gke)
        ),
        gpu_partition_size=sharing.profile or None,
        gpu_sharing_config=container.NodePoolNodeConfigGuestAcceleratorGpuSharingConfigArgs(
            gpu_sharing_strategy=SHARING[sharing.kind], max_shared_clients_per_gpu=sharing.replicas
        )
        if sharing.kind in SHARING
        else None,
    )


def _driver_version(pool: NodePool, gpu: str) -> str:
    """Returns which driver GKE installs.

    The images need CUDA 13 and so driver 580 (https://docs.nvidia.com/deploy/cuda-compatibility/), but GKE's default
    was 535 in 2026, with `latest` above 580 (https://github.com/rapidsai/deployment/pull/659).
    """
    if pool.driver_owner == "operator":
        return "INSTALLATION_DISABLED"
    return "DEFAULT" if gpu == NEWER_DRIVERS_LACK else "LATEST"


def _reservation(pool: NodePool) -> container.NodePoolNodeConfigReservationAffinityArgs | None:
    if pool.capacity == "reserved":
        return container.NodePoolNodeConfigReservationAffinityArgs(
            consume_reservation_type="SPECIFIC_RESERVATION",
            key="compute.googleapis.com/reservation-name",
            values=[pool.reservation],
        )
    if pool.capacity == "queued":
        return container.NodePoolNodeConfigReservationAffinityArgs(consume_reservation_type="NO_RESERVATION")
    return None
