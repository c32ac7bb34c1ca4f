"""Each kind of pool, field by field, as GKE is asked for it."""

from __future__ import annotations

from typing import Any

import pytest

from infra.nodes.pools import POOL_LABEL, NodePool
from infra.targets.gcp import nodes
from infra.targets.gcp.limits import NO_DEVICE_PLUGIN
from infra.targets.gcp.settings import Gcp

ZONES = ["europe-west4-a", "europe-west4-b"]
CPU = {"name": "cpu", "zones": ZONES[:1]}
L4 = {"name": "l4", "accelerator": "l4", "gpus": 1, "zones": ZONES[:1]}
H100 = {"name": "h100", "accelerator": "h100-80gb", "gpus": 8, "zones": ZONES[:1]}


def args(pool: dict[str, Any], **settings: Any) -> Any:
    gcp = Gcp.model_validate({"project": "example-project", "region": "europe-west4", **settings})
    labels = {"headrace-stack": "headrace-gcp"}
    return nodes.node_pool(
        NodePool.model_validate(pool), gcp, "headrace-gcp", "nodes@example.iam.gserviceaccount.com", labels
    )


def gpu(pool: dict[str, Any]) -> Any:
    [accelerator] = args(pool).node_config.guest_accelerators
    return accelerator


@pytest.mark.parametrize("pool", [CPU, L4, H100, {**L4, "capacity": "spot"}, {**L4, "driver": "operator"}])
def test_every_pool_has_the_stacks_account_labels_and_safe_nodes(pool: dict[str, Any]) -> None:
    made = args(pool)
    node = made.node_config
    assert (made.name, made.cluster, made.location) == (pool["name"], "headrace-gcp", "europe-west4")
    assert made.node_locations == ["europe-west4-a"]
    assert node.service_account == "nodes@example.iam.gserviceaccount.com"
    assert node.oauth_scopes == ["https://www.googleapis.com/auth/cloud-platform"]
    assert node.workload_metadata_config.mode == "GKE_METADATA"
    assert node.metadata == {"disable-legacy-endpoints": "true"}
    assert node.shielded_instance_config.enable_integrity_monitoring is True
    assert node.labels[POOL_LABEL] == pool["name"]
    assert node.resource_labels == {"headrace-stack": "headrace-gcp"}
    assert node.disk_size_gb == 200
    assert made.management.auto_upgrade is True


@pytest.mark.parametrize(
    ("pool", "machine"),
    [
        (CPU, "n2-standard-4"),
        ({**CPU, "machine_type": "n2-standard-8"}, "n2-standard-8"),
        (L4, "g2-standard-4"),
        ({**L4, "machine_type": "g2-standard-8"}, "g2-standard-8"),
        (H100, "a3-highgpu-8g"),
    ],
)
def test_the_machine_is_the_named_or_the_smallest(pool: dict[str, Any], machine: str) -> None:
    assert args(pool).node_config.machine_type == machine


def test_a_pool_without_gpus_asks_for_none() -> None:
    node = args({**CPU, "disk_gib": 50}).node_config
    assert node.guest_accelerators is None
    assert node.disk_size_gb == 50
    assert (node.spot, node.flex_start, node.reservation_affinity) == (False, None, None)
    assert node.taints == []


def test_pods_write_to_the_local_ssds_that_a_machine_always_has() -> None:
    assert args(H100).node_config.ephemeral_storage_local_ssd_config.local_ssd_count == 16
    assert args(L4).node_config.ephemeral_storage_local_ssd_config is None


@pytest.mark.parametrize(
    ("pool", "kind", "count"),
    [
        (L4, "nvidia-l4", 1),
        (H100, "nvidia-h100-80gb", 8),
        ({**L4, "accelerator": "t4", "gpus": 2}, "nvidia-tesla-t4", 2),
    ],
)
def test_gpus_are_called_as_gke_calls_them(pool: dict[str, Any], kind: str, count: int) -> None:
    asked = gpu(pool)
    assert (asked.type, asked.count) == (kind, count)
    assert (asked.gpu_partition_size, asked.gpu_sharing_config) == (None, None)


def test_an_accelerator_without_a_name_in_gke_is_no_empty_type() -> None:
    with pytest.raises(ValueError, match="l5"):
        gpu({**L4, "accelerator": "l5", "machine_type": "g2-standard-4"})


@pytest.mark.parametrize("driver", [None, "cloud"])
def test_gke_installs_the_driver(driver: str | None) -> None:
    node = args({**L4, "driver": driver}).node_config
    # CUDA 13 of the images needs a newer driver than GKE's default.
    assert node.guest_accelerators[0].gpu_driver_installation_config.gpu_driver_version == "LATEST"
    assert node.image_type == "COS_CONTAINERD"
    assert node.shielded_instance_config.enable_secure_boot is True
    assert node.gcfs_config.enabled is True
    assert NO_DEVICE_PLUGIN not in node.labels


def test_a_gpu_that_newer_drivers_do_not_support_gets_the_default() -> None:
    node = args({**L4, "accelerator": "v100-16gb", "machine_type": "n1-standard-8"}).node_config
    assert node.guest_accelerators[0].gpu_driver_installation_config.gpu_driver_version == "DEFAULT"


def test_the_operators_nodes_have_nothing_of_gkes() -> None:
    node = args({**L4, "driver": "operator"}).node_config
    assert node.guest_accelerators[0].gpu_driver_installation_config.gpu_driver_version == "INSTALLATION_DISABLED"
    assert node.image_type == "UBUNTU_CONTAINERD"
    assert node.shielded_instance_config.enable_secure_boot is False
    assert node.gcfs_config.enabled is False
    assert node.labels == {POOL_LABEL: "l4", NO_DEVICE_PLUGIN: "true"}


def test_image_streaming_is_a_choice() -> None:
    assert args(CPU).node_config.gcfs_config.enabled is True
    assert args(CPU, image_streaming=False).node_config.gcfs_config.enabled is False


@pytest.mark.parametrize(("kind", "strategy"), [("time_slicing", "TIME_SHARING"), ("mps", "MPS")])
def test_a_gpu_is_shared(kind: str, strategy: str) -> None:
    shared = gpu({**L4, "sharing": {"kind": kind, "replicas": 4}}).gpu_sharing_config
    assert (shared.gpu_sharing_strategy, shared.max_shared_clients_per_gpu) == (strategy, 4)


def test_a_gpu_is_sliced() -> None:
    sliced = gpu({**H100, "sharing": {"kind": "mig", "profile": "1g.10gb"}})
    assert sliced.gpu_partition_size == "1g.10gb"
    assert sliced.gpu_sharing_config is None


def test_gkes_own_taint_is_not_declared() -> None:
    taints = args({**L4, "taints": [{"key": "team", "value": "search", "effect": "NoExecute"}]}).node_config.taints
    assert [(t.key, t.value, t.effect) for t in taints] == [("team", "search", "NO_EXECUTE")]
    assert args(L4).node_config.taints == []


@pytest.mark.parametrize(
    ("effect", "gke"),
    [("NoSchedule", "NO_SCHEDULE"), ("PreferNoSchedule", "PREFER_NO_SCHEDULE"), ("NoExecute", "NO_EXECUTE")],
)
def test_effects_of_taints_are_converted_for_gke(effect: str, gke: str) -> None:
    [taint] = args({**CPU, "taints": [{"key": "team", "effect": effect}]}).node_config.taints
    assert taint.effect == gke


@pytest.mark.parametrize(
    ("nodes", "zones", "by_zone"),
    [(4, ZONES, 2), (4, ZONES[:1], 4), (6, [], 2)],
)
def test_a_fixed_pool_is_counted_by_zone(nodes: int, zones: list[str], by_zone: int) -> None:
    made = args({**CPU, "min_nodes": nodes, "max_nodes": nodes, "zones": zones})
    assert made.node_count == by_zone
    assert (made.initial_node_count, made.autoscaling) == (None, None)
    assert made.node_locations == (zones or None)


@pytest.mark.parametrize(
    ("low", "high", "zones", "initial"),
    [(0, 4, ZONES, 0), (1, 4, ZONES, 1), (3, 4, ZONES, 2), (2, 3, ZONES, 1), (1, 2, [], 0), (2, 9, ZONES[:1], 2)],
)
def test_an_autoscaled_pool_is_counted_in_all(low: int, high: int, zones: list[str], initial: int) -> None:
    made = args({**CPU, "min_nodes": low, "max_nodes": high, "zones": zones})
    assert made.node_count is None
    assert made.initial_node_count == initial
    scaling = made.autoscaling
    assert (scaling.total_min_node_count, scaling.total_max_node_count) == (low, high)
    assert (scaling.min_node_count, scaling.max_node_count) == (None, None)


@pytest.mark.parametrize(
    ("pool", "policy"),
    [(CPU, "BALANCED"), ({**CPU, "capacity": "spot"}, "ANY"), (L4, "ANY"), ({**L4, "capacity": "queued"}, "ANY")],
)
def test_scarce_capacity_may_come_from_any_zone(pool: dict[str, Any], policy: str) -> None:
    assert args({**pool, "min_nodes": 0, "max_nodes": 3}).autoscaling.location_policy == policy


def test_spot_nodes_use_no_other_kind_of_capacity() -> None:
    node = args({**L4, "capacity": "spot"}).node_config
    assert (node.spot, node.flex_start, node.reservation_affinity) == (True, None, None)


def test_a_reservation_is_the_named_one_alone() -> None:
    node = args({**L4, "capacity": "reserved", "reservation": "held"}).node_config
    affinity = node.reservation_affinity
    assert affinity.consume_reservation_type == "SPECIFIC_RESERVATION"
    assert (affinity.key, affinity.values) == ("compute.googleapis.com/reservation-name", ["held"])
    assert (node.spot, node.flex_start) == (False, None)


def test_queued_nodes_are_neither_repaired_nor_taken_from_a_reservation() -> None:
    made = args({**L4, "capacity": "queued", "min_nodes": 0, "max_nodes": 4})
    assert made.node_config.flex_start is True
    assert made.node_config.reservation_affinity.consume_reservation_type == "NO_RESERVATION"
    assert made.management.auto_repair is False
    assert made.upgrade_settings is None
    # These would be for ProvisioningRequests alone, which Ray's pods do not make.
    assert made.queued_provisioning is None


@pytest.mark.parametrize(("pool", "surge", "unavailable"), [(CPU, 1, 0), (L4, 0, 1)])
def test_an_upgrade_needs_no_gpu_to_spare(pool: dict[str, Any], surge: int, unavailable: int) -> None:
    upgrade = args(pool).upgrade_settings
    assert (upgrade.max_surge, upgrade.max_unavailable) == (surge, unavailable)
    assert args(pool).management.auto_repair is True
