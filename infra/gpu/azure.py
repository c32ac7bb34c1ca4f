"""What AKS can do with node pools, and how it says it; without Azure's SDK."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network

from infra.cloud_config import Azure, Cluster, Network
from infra.gpu.accelerators import ACCELERATORS, named
from infra.gpu.machines import MACHINES
from infra.gpu.pools import NodePool, Taint
from infra.mistakes import Mistake

VERSIONS = ("1.34", "1.35", "1.36")
"""Of Kubernetes, generally available: https://github.com/Azure/AKS/releases/tag/2026-09-04."""

ZONES = ("1", "2", "3")

PODS = IPv4Network("10.192.0.0/12")
"""Overlay addresses of pods; every node takes a /24 of it."""

SERVICES = IPv4Network("10.208.0.0/16")

SYSTEM = "system"
"""The node pool of AKS' own add-ons: two nodes, which AKS asks for, and one more while they are upgraded."""

SYSTEM_NODES = 2

RESERVED = 5
"""Addresses that Azure keeps of every subnet."""

MOST_DISK_GIB = 2048

SPOT = "kubernetes.azure.com/scalesetpriority"
"""Label and taint that AKS puts on every spot node."""

SPOT_TAINT = Taint(key=SPOT, value="spot")

_OWN = "kubernetes.azure.com"
_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
_TAG = re.compile(r"[^<>%&\\?/]{1,512}")
_GROUP = re.compile(
    r"/subscriptions/[-0-9a-f]{36}/resourceGroups/[-\w.()]+/providers/Microsoft\.Compute/capacityReservationGroups/[-\w.]+",
    re.IGNORECASE,
)
_NETWORK = re.compile(
    r"/subscriptions/[-0-9a-f]{36}/resourceGroups/[-\w.()]+/providers/Microsoft\.Network/virtualNetworks/[-\w.]+",
    re.IGNORECASE,
)
_SUBNET = re.compile(r"[A-Za-z0-9]([-\w.]{0,78}\w)?")


def advertises(settings: Azure, pool: NodePool) -> bool:
    """False: AKS installs the driver and no device plugin (https://learn.microsoft.com/azure/aks/use-nvidia-gpu)."""
    return False


def labels(pool: NodePool) -> dict[str, str]:
    """Labels of a pool's nodes, with what AKS adds: else a refresh would find a difference."""
    return {**({SPOT: "spot"} if pool.capacity == "spot" else {}), **pool.node_labels}


def taints(pool: NodePool) -> tuple[Taint, ...]:
    """Taints of a pool's nodes, with what AKS adds: pods for spot nodes must tolerate it."""
    return (*((SPOT_TAINT,) if pool.capacity == "spot" else ()), *pool.node_taints)


def instance_profile(pool: NodePool) -> str | None:
    """AKS' name of the slices of a pool's GPUs, for example MIG1g; None when AKS cannot make them.

    AKS knows one size for each number of compute units, the one that gives most slices: 1g.10gb of an 80 GB GPU,
    not 1g.20gb.
    """
    gpu = named(pool.accelerator)
    wanted = pool.sharing.profile.partition(".")[0]
    of_units = [m for m in (gpu.mig if gpu else ()) if m[0].partition(".")[0] == wanted]
    most = max(of_units, key=lambda m: m[1], default=("", 0))[0]
    return f"MIG{wanted}" if wanted and most == pool.sharing.profile else None


def nodes_range(network: Network) -> IPv4Network:
    """The subnet of nodes in a network that is made: its first half; the other is yours."""
    return next(network.cidr.subnets(prefixlen_diff=1))


def mistakes(settings: Azure, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
    """What AKS cannot do of what is asked for."""
    found = [*_settings(settings), *_cluster(cluster), *_network(cluster.network, pools), *_plain(pools)]
    for i, pool in enumerate(pools):
        found += [m for check in _POOL for m in check(pool, f"node_pools[{i}]")]
    return found


def _settings(settings: Azure) -> Iterator[Mistake]:
    if not settings.subscription:
        yield Mistake("azure.subscription", "is missing", "`az account show --query id` prints the one you use")
    if not settings.location:
        yield Mistake("azure.location", "is missing", "`az account list-locations --query [].name` lists them")


def _cluster(cluster: Cluster) -> Iterator[Mistake]:
    if cluster.kubernetes_version not in VERSIONS:
        problem = f"AKS does not offer {cluster.kubernetes_version}"
        yield Mistake("cluster.kubernetes_version", problem, f"use one of {', '.join(VERSIONS)}")
    for name, value in cluster.tags.items():
        if not _TAG.fullmatch(name) or len(value) > 256:
            yield Mistake(
                f"cluster.tags.{name}",
                "is no tag of Azure",
                "leave out <>%&\\?/ and keep the value within 256 characters",
            )


def _network(network: Network, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    nodes = sum(pool.max_nodes for pool in pools) + SYSTEM_NODES + 1
    room = PODS.num_addresses // 256
    if nodes > room:
        yield Mistake("node_pools", f"have up to {nodes} nodes, and pods' addresses last for {room}", "lower max_nodes")
    if network.existing:
        yield from _existing(network)
        return
    for what, taken in (("pods", PODS), ("services", SERVICES)):
        if network.cidr.overlaps(taken):
            fix = "choose another range, for example 10.60.0.0/16"
            yield Mistake("cluster.network.cidr", f"{network.cidr} overlaps {taken} of {what}", fix)
    room = nodes_range(network).num_addresses - RESERVED
    if nodes > room:
        problem = f"has {room} addresses for up to {nodes} nodes"
        yield Mistake("cluster.network.cidr", problem, "choose a larger range, or lower max_nodes")


def _existing(network: Network) -> Iterator[Mistake]:
    if not _NETWORK.fullmatch(network.existing):
        fix = "`az network vnet show --query id` prints it"
        yield Mistake("cluster.network.existing", "is no resource id of a virtual network", fix)
    if len(network.subnets) > 1:
        yield Mistake("cluster.network.subnets", "has more than one", "name the one for nodes: pods have an overlay")
    for i, subnet in enumerate(network.subnets):
        if not _SUBNET.fullmatch(subnet):
            yield Mistake(
                f"cluster.network.subnets[{i}]", f"'{subnet}' is no subnet's name", "name it without its path"
            )


def _plain(pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """AKS' own nodes take nothing else; spot nodes and those with GPUs take only what tolerates their taints."""
    if not any(pool.capacity != "spot" and not pool.node_taints for pool in pools):
        problem = "have none for pods that tolerate nothing: the database, add-ons"
        yield Mistake("node_pools", problem, "add a pool without GPUs, taints and spot capacity")


def _name(pool: NodePool, key: str) -> Iterator[Mistake]:
    if not _POOL_NAME.fullmatch(pool.name):
        fix = "use up to 12 lowercase letters and digits, a letter first"
        yield Mistake(f"{key}.name", f"'{pool.name}' is no name of a node pool in AKS", fix)
    if pool.name == SYSTEM:
        yield Mistake(f"{key}.name", f"'{SYSTEM}' is the pool of AKS' own add-ons", "choose another name")


def _machine(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.accelerator and named(pool.accelerator) is None:
        known = [a.key for a in ACCELERATORS]
        yield Mistake.unknown(f"{key}.accelerator", pool.accelerator, "accelerator", known)
        return
    found = pool.machine("azure")
    if found and (found.accelerator, found.gpus) != (pool.accelerator, pool.gpus):
        has = f"{found.gpus} x {found.accelerator}" if found.gpus else "no GPUs"
        fix = "correct accelerator and gpus, or leave machine_type out"
        yield Mistake(f"{key}.machine_type", f"{found.name} has {has}", fix)
    elif pool.machine_type and not found:
        known = [m.name for m in MACHINES if m.cloud == "azure"]
        yield Mistake.unknown(f"{key}.machine_type", pool.machine_type, "machine type of Azure", known)
    elif not found:
        counts = sorted({m.gpus for m in MACHINES if m.cloud == "azure" and m.accelerator == pool.accelerator})
        if counts:
            problem = f"Azure has no machine type with {pool.gpus} x {pool.accelerator}"
            yield Mistake(f"{key}.gpus", problem, f"use one of {', '.join(map(str, counts))}")
        else:
            known = sorted({m.accelerator for m in MACHINES if m.cloud == "azure" and m.accelerator})
            yield Mistake.unknown(f"{key}.accelerator", pool.accelerator, "accelerator in Azure", known)


def _capacity(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.capacity == "queued":
        yield Mistake(f"{key}.capacity", "Azure has no queue for capacity", "use on_demand, spot or reserved")
    if pool.reservation and not _GROUP.fullmatch(pool.reservation):
        fix = "`az capacity reservation group show --query id` prints it"
        yield Mistake(f"{key}.reservation", "is no resource id of a capacity reservation group", fix)


def _driver(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.driver == "preinstalled":
        yield Mistake(f"{key}.driver", "no image of AKS comes with a driver", "use cloud or operator")
    if pool.driver == "operator" and pool.accelerator == "a10":
        problem = "Azure's A10 machines need its own GRID driver, which NVIDIA's operator does not install"
        yield Mistake(f"{key}.driver", problem, "use cloud")


def _sharing(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.sharing.kind != "mig":
        return
    gpu = named(pool.accelerator)
    if gpu and instance_profile(pool) is None:
        slices = [m[0] for m in gpu.mig if instance_profile(_sliced(pool, m[0]))]
        yield Mistake.unknown(f"{key}.sharing.profile", pool.sharing.profile, f"slice of {gpu.key} in AKS", slices)
    if pool.driver == "operator":
        yield Mistake(f"{key}.driver", "AKS slices GPUs by the driver that it installs", "use cloud with sharing mig")


def _sliced(pool: NodePool, profile: str) -> NodePool:
    return pool.model_copy(update={"sharing": pool.sharing.model_copy(update={"profile": profile})})


def _nodes(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.disk_gib > MOST_DISK_GIB:
        yield Mistake(f"{key}.disk_gib", f"{pool.disk_gib} is more than AKS gives a node", f"use up to {MOST_DISK_GIB}")
    for i, zone in enumerate(pool.zones):
        if zone not in ZONES:
            yield Mistake.unknown(f"{key}.zones[{i}]", zone, "zone in Azure", ZONES)
    for label in pool.labels:
        if _reserved(label):
            yield Mistake(f"{key}.labels", f"'{label}' is not for users to set", "choose another prefix")
    for i, taint in enumerate(pool.taints):
        if taint.key.startswith(f"{_OWN}/"):
            yield Mistake(f"{key}.taints[{i}].key", f"'{taint.key}' is AKS' own", "choose another prefix")


def _reserved(label: str) -> bool:
    """AKS keeps its own prefix, a kubelet sets few of Kubernetes' own labels."""
    prefix = label.rpartition("/")[0]
    if prefix in ("kubelet.kubernetes.io", "node.kubernetes.io"):
        return False
    return prefix == _OWN or bool(re.search(r"(^|\.)(kubernetes|k8s)\.io$", prefix))


_POOL: tuple[Callable[[NodePool, str], Iterator[Mistake]], ...] = (
    _name,
    _machine,
    _capacity,
    _driver,
    _sharing,
    _nodes,
)
