"""What GKE cannot do with node pools is told, with the setting that is wrong, before anything is made."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest

from infra.cloud_config import Cluster
from infra.nodes.pools import NodePool
from infra.targets.gcp import limits
from infra.targets.gcp.machines import MACHINES
from infra.targets.gcp.settings import Gcp

GCP = {"project": "example-project", "region": "europe-west4"}
CLUSTER: dict[str, Any] = {"authorized_ranges": ["203.0.113.7/32"]}
ZONE = ["europe-west4-a"]
CPU = {"name": "cpu", "zones": ZONE}
L4 = {"name": "l4", "accelerator": "l4", "gpus": 1, "zones": ZONE}
H100 = {"name": "h100", "accelerator": "h100-80gb", "gpus": 8, "zones": ZONE}
MIG = {"kind": "mig", "profile": "1g.10gb"}
NO_PLUGIN = limits.NO_DEVICE_PLUGIN


def mistakes_by_key(
    *pools: dict[str, Any], gcp_settings: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None
) -> dict[str, str]:
    mistakes = limits.mistakes(
        Gcp.model_validate(gcp_settings or GCP),
        Cluster.model_validate(CLUSTER if cluster is None else cluster),
        [NodePool.model_validate(p) for p in pools],
    )
    assert all(m.fix for m in mistakes)
    return {m.key: f"{m.problem}; {m.fix}" for m in mistakes}


@pytest.mark.parametrize(
    "pool",
    [
        L4,
        H100,
        {**L4, "machine_type": "g2-standard-4"},
        {**L4, "capacity": "spot", "min_nodes": 0, "max_nodes": 4, "zones": ["europe-west4-a", "europe-west4-b"]},
        {**L4, "capacity": "queued", "min_nodes": 0, "max_nodes": 4},
        {**L4, "capacity": "reserved", "reservation": "held"},
        {**L4, "sharing": {"kind": "time_slicing", "replicas": 4}},
        {**H100, "sharing": MIG},
        {**H100, "gpus": 1, "capacity": "spot"},
        {**L4, "driver": "operator"},
        {**L4, "driver": "cloud", "labels": {"team": "search"}, "taints": [{"key": "team", "value": "search"}]},
        {"name": "more", "min_nodes": 3, "max_nodes": 3},
        {"name": "more", "min_nodes": 1, "max_nodes": 4},
    ],
)
def test_supported_pools_have_no_mistakes(pool: dict[str, Any]) -> None:
    assert mistakes_by_key(CPU, pool) == {}


@pytest.mark.parametrize(
    ("pool", "key", "words"),
    [
        ({**L4, "name": "a" * 41}, "name", "at most 40 characters"),
        ({**L4, "name": "4l"}, "name", "starting with a letter"),
        ({**L4, "accelerator": "h100-80"}, "accelerator", "did you mean 'h100-80gb'?"),
        ({**L4, "accelerator": "a10g"}, "accelerator", "GKE has no a10g; use one of"),
        ({**L4, "machine_type": "g2-standart-4"}, "machine_type", "did you mean 'g2-standard-4'?"),
        ({**L4, "machine_type": "n2-standard-4"}, "machine_type", "has no GPUs, but the pool requests 1 x l4"),
        ({**L4, "machine_type": "a3-highgpu-8g"}, "machine_type", "has 8 x h100-80gb"),
        ({"name": "x", "zones": ZONE, "machine_type": "g2-standard-4"}, "machine_type", "the pool requests none"),
        ({**L4, "gpus": 3}, "gpus", "no machine type has exactly 3 x l4; use one of 1"),
        ({**L4, "driver": "preinstalled"}, "driver", "use cloud or operator"),
        (
            {**L4, "driver": "operator", "sharing": {"kind": "time_slicing", "replicas": 2}},
            "sharing",
            "driver operator keeps off",
        ),
        ({**L4, "sharing": {"kind": "mps", "replicas": 2}}, "sharing.kind", "hostIPC"),
        ({**L4, "sharing": MIG}, "sharing.kind", "l4 does not support MIG"),
        (
            {**H100, "sharing": {"kind": "mig", "profile": "1g.11gb"}},
            "sharing.profile",
            "did you mean '1g.10gb'?",
        ),
        (
            {"name": "x", "zones": ZONE, "capacity": "queued", "min_nodes": 0},
            "capacity",
            "queued requires GPUs",
        ),
        ({**H100, "gpus": 1}, "capacity", "'a3-highgpu-1g' is available only as spot or queued"),
        ({**L4, "capacity": "queued", "min_nodes": 0, "surge": 0}, "surge", "GKE does not upgrade queued nodes"),
        ({**L4, "capacity": "queued", "max_nodes": 2}, "min_nodes", "use 0 with capacity queued"),
        ({**L4, "zones": [], "capacity": "reserved", "reservation": "held"}, "zones", "only the reservation's zone"),
        ({**L4, "zones": []}, "zones", "not every zone has l4"),
        ({**L4, "zones": ["europe-west1-b"]}, "zones", "europe-west1-b is not in europe-west4"),
        ({**L4, "zones": ["europe-west4"]}, "zones", "europe-west4 is not in europe-west4; use zones of the region"),
        ({"name": "x"}, "zones", "1 nodes do not divide into 3"),
        (
            {**L4, "min_nodes": 3, "max_nodes": 3, "zones": ["europe-west4-a", "europe-west4-b"]},
            "zones",
            "3 nodes do not divide into 2",
        ),
        (
            {**L4, "labels": {"cloud.google.com/gke-accelerator": "x"}},
            "labels.cloud.google.com/gke-accelerator",
            "reserved for GKE",
        ),
        ({**L4, "labels": {"node.kubernetes.io/x": "y"}}, "labels.node.kubernetes.io/x", "is reserved for GKE"),
        (
            {**L4, "labels": {limits.NO_DEVICE_PLUGIN: "true"}},
            f"labels.{limits.NO_DEVICE_PLUGIN}",
            "is reserved for GKE",
        ),
        ({**L4, "taints": [{"key": "nvidia.com/gpu"}]}, "taints[0]", "GKE adds the taint nvidia.com/gpu itself"),
        ({**L4, "taints": [{"key": "node.gke.io/x"}]}, "taints[0].key", "is reserved for GKE"),
        ({**L4, "disk_throughput": 500}, "disk_throughput", "a larger disk_gib is faster"),
    ],
)
def test_unsupported_pools_are_mistakes(pool: dict[str, Any], key: str, words: str) -> None:
    said = mistakes_by_key(CPU, pool)
    assert list(said) == [f"node_pools[1].{key}"]
    assert words in said[f"node_pools[1].{key}"]


def test_gpus_are_attached_in_powers_of_two() -> None:
    attachable = next(m for m in MACHINES if m.attachable)
    pool = {**L4, "accelerator": attachable.accelerator, "machine_type": attachable.name}
    assert mistakes_by_key(CPU, {**pool, "gpus": 2}) == {}
    assert list(mistakes_by_key(CPU, {**pool, "gpus": 3})) == ["node_pools[1].machine_type"]
    assert mistakes_by_key(CPU, {"name": "plain", "zones": ZONE, "machine_type": attachable.name}) == {}


@pytest.mark.parametrize(
    "pools",
    [
        [],
        [L4],
        [{**CPU, "min_nodes": 0}],
        [{**CPU, "taints": [{"key": "team"}]}],
        [{**CPU, "capacity": "spot"}],
    ],
)
def test_gkes_own_pods_need_nodes_first(pools: list[dict[str, Any]]) -> None:
    assert "has no pool for GKE's own pods" in mistakes_by_key(*pools)["node_pools"]


def test_the_account_is_named() -> None:
    said = mistakes_by_key(CPU, gcp_settings={"image_streaming": True})
    assert list(said) == ["gcp.project", "gcp.region"]


@pytest.mark.parametrize(
    ("cluster", "key"),
    [
        ({**CLUSTER, "network": {"existing": "net", "subnets": ["a", "b"]}}, "cluster.network.subnets"),
        ({**CLUSTER, "kubernetes_version": "1.33"}, "cluster.kubernetes_version"),
        ({**CLUSTER, "admins": ["group:ops@example.com", "ops@example.com"]}, "cluster.admins[1]"),
        ({**CLUSTER, "tags": {"Team": "search"}}, "cluster.tags.Team"),
        ({**CLUSTER, "tags": {"team": "Search and more"}}, "cluster.tags.team"),
        ({**CLUSTER, "tags": {limits.STACK_LABEL: "x"}}, f"cluster.tags.{limits.STACK_LABEL}"),
    ],
)
def test_unsupported_clusters_are_mistakes(cluster: dict[str, Any], key: str) -> None:
    assert list(mistakes_by_key(CPU, cluster=cluster)) == [key]


@pytest.mark.parametrize(
    "cluster",
    [
        {"endpoint": "private"},
        {**CLUSTER, "network": {"existing": "net", "subnets": ["a"]}},
        {**CLUSTER, "tags": {"team": "search", "cost-centre": ""}},
    ],
)
def test_supported_clusters_have_no_mistakes(cluster: dict[str, Any]) -> None:
    assert mistakes_by_key(CPU, cluster=cluster) == {}


def test_pods_of_all_nodes_need_addresses() -> None:
    """A /20 gives 2048 addresses to pods, for 8 nodes; an upgrade adds one to each pool."""
    small = {**CLUSTER, "network": {"cidr": "10.60.0.0/20"}}
    assert mistakes_by_key({**CPU, "min_nodes": 7, "max_nodes": 7}, cluster=small) == {}
    said = mistakes_by_key({**CPU, "min_nodes": 8, "max_nodes": 8}, cluster=small)
    assert "pod addresses for 8 nodes, but the pools have up to 9" in said["cluster.network.cidr"]
    adopted = {**CLUSTER, "network": {"existing": "net", "subnets": ["a"]}}
    assert mistakes_by_key({**CPU, "min_nodes": 1, "max_nodes": 999}, cluster=adopted) == {}


@pytest.mark.parametrize("cidr", ["10.0.0.0/12", "10.60.0.0/16", "192.168.0.0/20"])
def test_parts_of_the_network_do_not_overlap(cidr: str) -> None:
    whole = IPv4Network(cidr)
    parts = limits.address_ranges(whole)
    assert all(p.subnet_of(whole) for p in parts)
    assert not any(a.overlaps(b) for i, a in enumerate(parts) for b in parts[:i])
    assert parts[1].num_addresses == whole.num_addresses // 2
    assert parts[2].prefixlen == 22


def test_autopilot_makes_its_own_nodes() -> None:
    autopilot = {**GCP, "autopilot": True}
    assert mistakes_by_key(gcp_settings=autopilot) == {}
    assert list(mistakes_by_key(CPU, gcp_settings=autopilot)) == ["node_pools"]


def test_gke_advertises_gpus_unless_the_operator_does() -> None:
    settings = Gcp.model_validate(GCP)
    assert limits.advertises(settings, NodePool.model_validate(L4))
    assert not limits.advertises(settings, NodePool.model_validate({**L4, "driver": "operator"}))


@pytest.mark.parametrize("stack", ["gcp", "Prod", "a_b", "a-b", "x" * 100, "eu." + "y" * 40])
def test_names_are_those_that_google_cloud_takes(stack: str) -> None:
    for longest, part in ((40, ""), (30, "nodes"), (30, "pods")):
        name = limits.resource_name(stack, part, longest)
        assert len(name) <= longest
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
        assert name.startswith("headrace-")
        assert name.endswith(part)
        assert name[-1] != "-"
    assert len(limits.bucket_name(stack, "example-project")) <= 63


def test_names_of_two_stacks_differ() -> None:
    assert limits.resource_name("gcp") == "headrace-gcp"
    assert limits.resource_name("gcp", "nodes", 30) == "headrace-gcp-nodes"
    assert len({limits.resource_name(s, "nodes", 30) for s in ("a-b", "a_b", "A-b", "x" * 50, "x" * 51)}) == 5
    assert limits.bucket_name("gcp", "one-project") != limits.bucket_name("gcp", "two-project")
    assert limits.bucket_name("gcp", "example-project") == "headrace-gcp-759b2c42"


def excluded(start: str, end: str, **more: Any) -> dict[str, Any]:
    return {"name": "freeze", "start": start, "end": end, **more}


@pytest.mark.parametrize(
    "maintenance",
    [
        {},
        {"days": ["sunday"], "hours": 12},  # four Sundays in any 32 days
        {"days": ["tuesday", "thursday"], "hours": 6, "start": "22:30"},
        {"exclusions": [excluded("2026-11-23", "2026-12-05")]},
        {"exclusions": [excluded("2026-11-23", "2027-03-01", scope="minor_and_nodes")]},
        {"days": ["saturday"], "exclusions": [excluded("2026-11-23", "2026-12-23", scope="minor")]},
    ],
)
def test_supported_maintenance_has_no_mistakes(maintenance: dict[str, Any]) -> None:
    assert mistakes_by_key(CPU, gcp_settings={**GCP, "maintenance": maintenance}) == {}


@pytest.mark.parametrize(
    ("maintenance", "key", "words"),
    [
        ({"days": ["sunday"], "hours": 11}, "gcp.maintenance", "leaves 44 hours in 32 days, but GKE needs 48"),
        ({"exclusions": [excluded("2026-11-23", "2026-12-20")]}, "gcp.maintenance", "leaves 12 hours in 32 days from"),
        ({"days": ["saturday"], "exclusions": [excluded("2026-11-28", "2026-11-29")]}, "gcp.maintenance", "leaves 36"),
        ({"exclusions": [excluded("2026-11-01", "2026-12-20")]}, "gcp.maintenance.exclusions[0]", "lasts 49 days"),
        (
            {"exclusions": [excluded("2026-11-01", "2026-11-02"), excluded("2026-12-01", "2026-12-02")]},
            "gcp.maintenance.exclusions",
            "two exclusions with one name",
        ),
        (
            {"exclusions": [{**excluded(f"2026-0{m}-03", f"2026-0{m}-04"), "name": f"m{m}"} for m in (3, 5, 7, 9)]},
            "gcp.maintenance.exclusions",
            "has 4 with scope all, but GKE allows 3",
        ),
    ],
)
def test_unsupported_maintenance_is_a_mistake(maintenance: dict[str, Any], key: str, words: str) -> None:
    assert words in mistakes_by_key(CPU, gcp_settings={**GCP, "maintenance": maintenance})[key]


def test_days_without_maintenance_are_in_order() -> None:
    with pytest.raises(ValueError, match="needs start before end"):
        Gcp.model_validate({"maintenance": {"exclusions": [excluded("2026-11-02", "2026-11-02")]}})
