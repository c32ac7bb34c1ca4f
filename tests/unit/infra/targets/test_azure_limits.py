"""What AKS cannot do is told before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from infra.cloud_config import Cluster, Network
from infra.nodes import accelerators
from infra.nodes.accelerators import Accelerator, Slice
from infra.nodes.machines import MachineType
from infra.nodes.pools import GPU_TAINT, NodePool, Sharing, Taint
from infra.targets.azure import limits, machines
from infra.targets.azure.settings import Azure

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"
AZURE = Azure(subscription=SUBSCRIPTION, location="westeurope")
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Compute/capacityReservationGroups/gpus"
VNET = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/corp"
A100 = "a100-80gb-pcie"
NC24 = "Standard_NC24ads_A100_v4"
SLICES = (Slice("1g.10gb", 7), Slice("1g.20gb", 4), Slice("2g.20gb", 3), Slice("3g.40gb", 2), Slice("7g.80gb", 1))


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogues grow; what is tested here does not grow with them."""
    known = (
        MachineType("azure", "Standard_D4s_v5", 4, 16),
        MachineType("azure", NC24, 24, 220, A100, 1),
        MachineType("azure", "Standard_NC96ads_A100_v4", 96, 880, A100, 4),
        MachineType("azure", "Standard_NV36ads_A10_v5", 36, 440, "a10", 1),
    )
    monkeypatch.setattr(machines, "MACHINES", known)
    sliced: Accelerator = replace(accelerators._BY_KEY[A100], mig=SLICES)
    monkeypatch.setitem(accelerators._BY_KEY, A100, sliced)


def plain(**settings: Any) -> NodePool:
    return NodePool(**{"name": "cpu", **settings})


def gpu(**settings: Any) -> NodePool:
    return NodePool(**{"name": "gpu", "accelerator": A100, "gpus": 1, **settings})


def mistakes_by_key(
    *pools: NodePool, settings: Azure = AZURE, cluster: Cluster | None = None, beside: Sequence[NodePool] = (plain(),)
) -> dict[str, str]:
    """Mistakes by key; the pools stand after those `beside` them."""
    told = limits.mistakes(settings, cluster or Cluster(), [*beside, *pools])
    assert len({m.key for m in told}) == len(told), told
    return {m.key: f"{m.problem}; {m.fix}" for m in told}


@pytest.mark.parametrize(
    "pool",
    [
        gpu(),
        gpu(machine_type=NC24, zones=("1", "3"), min_nodes=0, max_nodes=4),
        gpu(capacity="spot", driver="operator"),
        gpu(capacity="reserved", reservation=GROUP),
        gpu(sharing=Sharing(kind="time_slicing", replicas=4)),
        gpu(sharing=Sharing(kind="mps", replicas=4)),
        gpu(sharing=Sharing(kind="mig", profile="1g.10gb")),
        gpu(gpus=4),
        gpu(accelerator="a10"),
        plain(name="more", labels={"node.kubernetes.io/tier": "a"}, taints=(Taint(key="team"),), disk_gib=2048),
    ],
)
def test_supported_settings_have_no_mistakes(pool: NodePool) -> None:
    assert mistakes_by_key(pool) == {}


def test_subscription_and_location_are_needed() -> None:
    assert set(mistakes_by_key(settings=Azure())) == {"azure.subscription", "azure.location"}


@pytest.mark.parametrize("name", ["gpu-pool", "agpupoolistoolong", "1gpu"])
def test_a_pool_is_named_as_aks_wants_it(name: str) -> None:
    assert "up to 12 lowercase letters and digits" in mistakes_by_key(plain(name=name))["node_pools[1].name"]


def test_the_system_pool_is_aks_own() -> None:
    assert "AKS' own add-ons" in mistakes_by_key(plain(name="system"))["node_pools[1].name"]


@pytest.mark.parametrize(
    ("pool", "key", "words"),
    [
        (gpu(machine_type="Standard_NC24ads_A100_v5"), "machine_type", f"did you mean '{NC24}'?"),
        (plain(machine_type="g6.xlarge"), "machine_type", "no machine type in Azure 'g6.xlarge'"),
        (gpu(machine_type="Standard_D4s_v5"), "machine_type", "has no GPUs"),
        (gpu(gpus=4, machine_type=NC24), "machine_type", f"has 1 x {A100}"),
        (plain(machine_type=NC24), "machine_type", f"has 1 x {A100}"),
        (gpu(gpus=2), "gpus", f"no machine type with 2 x {A100}; use one of 1, 4"),
        (gpu(accelerator="l4"), "accelerator", "no accelerator in Azure 'l4'"),
        (gpu(accelerator="a100-80gb-pci"), "accelerator", f"did you mean '{A100}'?"),
        (gpu(capacity="queued"), "capacity", "no queue"),
        (gpu(capacity="spot", surge=1), "surge", "no upgrade settings for spot nodes"),
        (gpu(capacity="reserved", reservation="gpus"), "reservation", "not the resource id"),
        (gpu(driver="preinstalled"), "driver", "use cloud or operator"),
        (gpu(accelerator="a10", driver="operator"), "driver", "GRID"),
        (gpu(sharing=Sharing(kind="mig", profile="1g.20gb")), "sharing.profile", "did you mean"),
        (gpu(sharing=Sharing(kind="mig", profile="1g.10gb"), driver="operator"), "driver", "with its own driver only"),
        (plain(disk_gib=4096), "disk_gib", "use up to 2048"),
        (plain(disk_iops=4000), "disk_iops", "applies to AWS only"),
        (plain(zones=("1", "westeurope-1")), "zones[1]", "did you mean '1'?"),
        (plain(labels={"kubernetes.azure.com/mode": "x"}), "labels", "'kubernetes.azure.com/mode' is reserved"),
        (plain(labels={"node-role.kubernetes.io/gpu": ""}), "labels", "choose another prefix"),
        (plain(taints=(Taint(key="kubernetes.azure.com/mine"),)), "taints[0].key", "is reserved for AKS"),
    ],
)
def test_unsupported_settings_are_mistakes(pool: NodePool, key: str, words: str) -> None:
    told = mistakes_by_key(pool)
    assert set(told) == {f"node_pools[1].{key}"}
    assert words in told[f"node_pools[1].{key}"]


def test_an_accelerator_that_cannot_be_sliced_has_no_slices() -> None:
    pool = gpu(accelerator="a10", sharing=Sharing(kind="mig", profile="1g.10gb"))
    assert "no slice of a10 in AKS" in mistakes_by_key(pool)["node_pools[1].sharing.profile"]


@pytest.mark.parametrize(
    ("profile", "name"),
    [("1g.10gb", "MIG1g"), ("1g.20gb", None), ("2g.20gb", "MIG2g"), ("7g.80gb", "MIG7g"), ("4g.40gb", None)],
)
def test_aks_has_one_size_of_slice_for_each_number_of_units(profile: str, name: str | None) -> None:
    assert limits.instance_profile(gpu(sharing=Sharing(kind="mig", profile=profile))) == name


@pytest.mark.parametrize(
    "pools", [[], [gpu()], [plain(capacity="spot")], [plain(taints=(Taint(key="team"),))]], ids=len
)
def test_pods_without_tolerations_need_nodes(pools: list[NodePool]) -> None:
    assert "pods without tolerations" in mistakes_by_key(*pools, beside=())["node_pools"]


def test_a_version_that_aks_does_not_offer() -> None:
    told = mistakes_by_key(cluster=Cluster(kubernetes_version="1.31"))
    assert "use one of 1.34, 1.35, 1.36" in told["cluster.kubernetes_version"]


def test_administrators_are_object_ids() -> None:
    told = mistakes_by_key(cluster=Cluster(admins=("22222222-3333-4444-5555-666666666666", "ops@example.com")))
    assert list(told) == ["cluster.admins[1]"]
    assert "az ad user show" in told["cluster.admins[1]"]
    with pytest.raises(ValidationError, match="names an administrator twice"):
        Cluster(admins=("22222222-3333-4444-5555-66666666666a", "22222222-3333-4444-5555-66666666666A"))


def test_invalid_tags_are_mistakes() -> None:
    assert set(mistakes_by_key(cluster=Cluster(tags={"cost/center": "7", "team": "x" * 257, "good": "x"}))) == {
        "cluster.tags.cost/center",
        "cluster.tags.team",
    }


@pytest.mark.parametrize("cidr", ["10.200.0.0/16", "10.208.0.0/20", "10.192.0.0/12"])
def test_a_network_keeps_clear_of_pods_and_services(cidr: str) -> None:
    told = limits.mistakes(AZURE, Cluster(network=Network(cidr=cidr)), [plain()])
    assert {m.key for m in told} == {"cluster.network.cidr"}


def test_a_subnet_has_addresses_for_all_nodes() -> None:
    small = Cluster(network=Network(cidr="10.60.0.0/20"))
    # A half of /20 is 2048 addresses; Azure keeps 5, the system pool takes 3, an upgrade adds a tenth of each pool.
    fits = [plain(), plain(name="a", max_nodes=1000), plain(name="b", max_nodes=800), plain(name="c", max_nodes=52)]
    assert mistakes_by_key(cluster=small, beside=fits) == {}
    told = mistakes_by_key(plain(name="d"), cluster=small, beside=fits)
    assert "has 2043 addresses, but there are up to 2045 nodes" in told["cluster.network.cidr"]


def test_pods_have_addresses_on_all_nodes() -> None:
    pools = [plain(name=f"p{i}", max_nodes=1000) for i in range(5)]
    assert "suffice for 4096" in mistakes_by_key(beside=pools)["node_pools"]


@pytest.mark.parametrize(
    ("network", "keys"),
    [
        (Network(existing=VNET, subnets=("nodes",)), set()),
        (Network(existing="corp", subnets=("nodes",)), {"cluster.network.existing"}),
        (Network(existing=VNET, subnets=("a", "b")), {"cluster.network.subnets"}),
        (Network(existing=VNET, subnets=(f"{VNET}/subnets/nodes",)), {"cluster.network.subnets[0]"}),
    ],
)
def test_a_network_of_yours_is_named_by_id_and_its_one_subnet(network: Network, keys: set[str]) -> None:
    assert set(mistakes_by_key(cluster=Cluster(network=network))) == keys


def test_spot_nodes_have_a_taint_that_azure_adds() -> None:
    assert limits.taints(gpu(capacity="spot")) == (limits.SPOT_TAINT, GPU_TAINT)
    assert limits.taints(gpu()) == (GPU_TAINT,)
    assert limits.labels(plain(capacity="spot"))["kubernetes.azure.com/scalesetpriority"] == "spot"


@pytest.mark.parametrize("pool", [gpu(), gpu(driver="operator"), gpu(sharing=Sharing(kind="mig", profile="1g.10gb"))])
def test_aks_advertises_no_gpus(pool: NodePool) -> None:
    assert limits.advertises(AZURE, pool) is False
