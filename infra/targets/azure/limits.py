"""Checks of a stack's settings against the limits of AKS, and AKS' names; without Azure's SDK."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network

from infra.cloud_config import Cluster, Network
from infra.mistakes import Mistake
from infra.nodes.accelerators import ACCELERATORS, accelerator_by_key
from infra.nodes.allocatable import EVICTION
from infra.nodes.machines import MachineType, machine_types
from infra.nodes.pools import NodePool, Taint, no_disk_performance
from infra.nodes.resources import GIB, MIB, Resources
from infra.targets.azure.settings import Azure

STORE = "az://"
"""Beginning of the URIs of this cloud's buckets."""

VERSIONS = ("1.34", "1.35", "1.36")
"""Generally available versions of Kubernetes: https://github.com/Azure/AKS/releases/tag/2026-09-04."""

ZONES = ("1", "2", "3")

PODS = IPv4Network("10.192.0.0/12")
"""Overlay network of pods; every node uses a /24 of it."""

SERVICES = IPv4Network("10.208.0.0/16")

SYSTEM = "system"
"""Name of the node pool for AKS' own add-ons. It has two nodes, as AKS requires, and one more during upgrades."""

SYSTEM_NODES = 2

MAX_PODS = 110
"""Pods that a node runs at most."""

SYSTEM_POOLS = (NodePool(name=SYSTEM, min_nodes=SYSTEM_NODES, max_nodes=SYSTEM_NODES),)
"""Node pools that the stack creates besides those of its configuration."""

RESERVED_ADDRESSES = 5
"""Addresses that Azure reserves in every subnet."""

MAX_DISK_GIB = 2048

SPOT = "kubernetes.azure.com/scalesetpriority"
"""Label and taint of spot nodes, which AKS adds."""

SPOT_TAINT = Taint(key=SPOT, value="spot")

# kube-proxy 100m; azure-ip-masq-agent 100m; azure-cns 40m, 250Mi; two CSI drivers and cloud-node-manager.
NODE_PODS = Resources(cpu=370, memory=512 * MIB, pods=7)
"""Requests of the pods that the cloud runs on every node. Read from its manifests, not from a running cluster."""

_RESERVED_CPU = ((1, 60), (2, 100), (4, 140), (8, 180), (16, 260), (32, 420), (64, 740))
"""Thousandths of a processor that AKS reserves, by processors; above the last row it grows by 10 for each."""

_AKS_DOMAIN = "kubernetes.azure.com"
_OBJECT_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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
    """Returns False: AKS installs the driver, but no device plugin.

    https://learn.microsoft.com/azure/aks/use-nvidia-gpu
    """
    return False


def allocatable(machine: MachineType, disk_gib: int) -> Resources:
    """Returns what a node offers to pods, of which `NODE_PODS` take some.

    https://learn.microsoft.com/azure/aks/node-resource-reservations, with `MAX_PODS` on a node.
    """
    rows = [cpu for cores, cpu in _RESERVED_CPU if cores <= machine.vcpus]
    cpu = rows[-1] if machine.vcpus <= 64 else 740 + 10 * (machine.vcpus - 64)
    reserved = min((20 * MAX_PODS + 50) * 10**6, int(machine.memory_gib * GIB * 0.25))
    memory = int(machine.memory_gib * GIB * 0.97) - reserved - EVICTION
    # The file system lacks about a twentieth of the disk, and the kubelet keeps a tenth free.
    return Resources(machine.vcpus * 1000 - cpu, memory, int(disk_gib * GIB * 0.95 * 0.9), pods=MAX_PODS)


def system_pods(settings: Azure) -> Sequence[tuple[str, Resources]]:
    """Returns none: AKS has nodes of its own for its pods."""
    return ()


def labels(pool: NodePool) -> dict[str, str]:
    """Returns the labels of a pool's nodes, including those that AKS adds, which a refresh would report otherwise."""
    return {**({SPOT: "spot"} if pool.capacity == "spot" else {}), **pool.node_labels}


def taints(pool: NodePool) -> tuple[Taint, ...]:
    """Returns the taints of a pool's nodes, including AKS' taint of spot nodes, which their pods must tolerate."""
    return (*((SPOT_TAINT,) if pool.capacity == "spot" else ()), *pool.node_taints)


def instance_profile(pool: NodePool) -> str | None:
    """Returns AKS' name of a pool's MIG profile, for example MIG1g; None if AKS does not support the profile.

    AKS supports one profile for each number of compute units, the one with most slices: 1g.10gb of an 80 GB GPU,
    not 1g.20gb.
    """
    gpu = accelerator_by_key(pool.accelerator)
    wanted = pool.sharing.profile.partition(".")[0]
    of_units = [s for s in (gpu.mig if gpu else ()) if s.profile.partition(".")[0] == wanted]
    most = max(of_units, key=lambda s: s.count).profile if of_units else ""
    return f"MIG{wanted}" if wanted and most == pool.sharing.profile else None


SURGE_PERCENT = 10
"""Part of a pool that an upgrade adds unless the pool says something else."""


def surge_nodes(pool: NodePool, nodes: int) -> int:
    """Returns how many nodes an upgrade adds to a pool that has `nodes`: AKS rounds a percentage up.

    https://learn.microsoft.com/azure/aks/upgrade-aks-cluster#customize-node-surge-upgrade
    """
    if pool.capacity == "spot":
        return 0
    if pool.surge is not None:
        return pool.surge
    return 0 if is_scarce(pool) else math.ceil(nodes * SURGE_PERCENT / 100)


def is_scarce(pool: NodePool) -> bool:
    """Returns whether further nodes of a pool are rarely available, so that an upgrade adds none by default."""
    return bool(pool.gpus or pool.reservation)


def node_range(network: Network) -> IPv4Network:
    """Returns the range of the nodes' subnet in a new network: its first half. The other half stays free."""
    return next(network.cidr.subnets(prefixlen_diff=1))


def mistakes(settings: Azure, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
    """Reports settings that AKS does not support."""
    found = [*_settings(settings), *_cluster(cluster), *_network(cluster.network, pools), *_general_nodes(pools)]
    for i, pool in enumerate(pools):
        found += [m for check in _POOL_CHECKS for m in check(pool, f"node_pools[{i}]")]
    return found


def _settings(settings: Azure) -> Iterator[Mistake]:
    if not settings.subscription:
        yield Mistake("azure.subscription", "is missing", "`az account show --query id` prints the current one")
    if not settings.location:
        yield Mistake("azure.location", "is missing", "`az account list-locations --query [].name` lists them")


def _cluster(cluster: Cluster) -> Iterator[Mistake]:
    if cluster.kubernetes_version not in VERSIONS:
        problem = f"AKS does not offer {cluster.kubernetes_version}"
        yield Mistake("cluster.kubernetes_version", problem, f"use one of {', '.join(VERSIONS)}")
    for i, admin in enumerate(cluster.admins):
        if not _OBJECT_ID.fullmatch(admin):
            fix = "`az ad user show --query id` and `az ad group show --query id` print it"
            yield Mistake(f"cluster.admins[{i}]", f"'{admin[:80]}' is not an object id in Entra ID", fix)
    for name, value in cluster.tags.items():
        if not _TAG.fullmatch(name) or len(value) > 256:
            yield Mistake(
                f"cluster.tags.{name}",
                "is not a valid Azure tag",
                "avoid <>%&\\?/ and use values up to 256 characters",
            )


def _network(network: Network, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    nodes = sum(pool.max_nodes + surge_nodes(pool, pool.max_nodes) for pool in pools) + SYSTEM_NODES + 1
    room = PODS.num_addresses // 256
    if nodes > room:
        problem = f"have up to {nodes} nodes, but pod addresses suffice for {room}"
        yield Mistake("node_pools", problem, "lower max_nodes")
    if network.existing:
        yield from _existing_network(network)
        return
    for what, used in (("pods", PODS), ("services", SERVICES)):
        if network.cidr.overlaps(used):
            fix = "choose another range, for example 10.60.0.0/16"
            yield Mistake("cluster.network.cidr", f"{network.cidr} overlaps {used}, the range of {what}", fix)
    room = node_range(network).num_addresses - RESERVED_ADDRESSES
    if nodes > room:
        problem = f"has {room} addresses, but there are up to {nodes} nodes"
        yield Mistake("cluster.network.cidr", problem, "choose a larger range, or lower max_nodes")


def _existing_network(network: Network) -> Iterator[Mistake]:
    if not _NETWORK.fullmatch(network.existing):
        fix = "`az network vnet show --query id` prints it"
        yield Mistake("cluster.network.existing", "is not the resource id of a virtual network", fix)
    if len(network.subnets) > 1:
        fix = "name only the nodes' subnet: pods use an overlay network"
        yield Mistake("cluster.network.subnets", "has more than one subnet", fix)
    for i, subnet in enumerate(network.subnets):
        if not _SUBNET.fullmatch(subnet):
            yield Mistake(
                f"cluster.network.subnets[{i}]", f"'{subnet}' is not a subnet name", "use the name without its path"
            )


def _general_nodes(pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """Reports a stack without nodes for pods without tolerations: all other nodes have taints."""
    if not any(pool.capacity != "spot" and not pool.node_taints for pool in pools):
        problem = "have no nodes for pods without tolerations, such as the database and add-ons"
        yield Mistake("node_pools", problem, "add a pool without GPUs, taints and spot capacity")


def _name(pool: NodePool, key: str) -> Iterator[Mistake]:
    if not _POOL_NAME.fullmatch(pool.name):
        fix = "use up to 12 lowercase letters and digits, starting with a letter"
        yield Mistake(f"{key}.name", f"'{pool.name}' is not a valid AKS node pool name", fix)
    if pool.name == SYSTEM:
        yield Mistake(f"{key}.name", f"'{SYSTEM}' is reserved for AKS' own add-ons", "choose another name")


def _machine(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.accelerator and accelerator_by_key(pool.accelerator) is None:
        known = [a.key for a in ACCELERATORS]
        yield Mistake.unknown(f"{key}.accelerator", pool.accelerator, "accelerator", known)
        return
    found = pool.machine("azure")
    if found and (found.accelerator, found.gpus) != (pool.accelerator, pool.gpus):
        has = f"{found.gpus} x {found.accelerator}" if found.gpus else "no GPUs"
        fix = "correct accelerator and gpus, or remove machine_type"
        yield Mistake(f"{key}.machine_type", f"{found.name} has {has}", fix)
    elif pool.machine_type and not found:
        known = [m.name for m in machine_types("azure")]
        yield Mistake.unknown(f"{key}.machine_type", pool.machine_type, "machine type in Azure", known)
    elif not found:
        counts = sorted({m.gpus for m in machine_types("azure") if m.accelerator == pool.accelerator})
        if counts:
            problem = f"Azure has no machine type with {pool.gpus} x {pool.accelerator}"
            yield Mistake(f"{key}.gpus", problem, f"use one of {', '.join(map(str, counts))}")
        else:
            known = sorted({m.accelerator for m in machine_types("azure") if m.accelerator})
            yield Mistake.unknown(f"{key}.accelerator", pool.accelerator, "accelerator in Azure", known)


def _capacity(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.capacity == "queued":
        yield Mistake(f"{key}.capacity", "Azure has no queue for capacity", "use on_demand, spot or reserved")
    if pool.capacity == "spot" and pool.surge is not None:
        yield Mistake(f"{key}.surge", "AKS has no upgrade settings for spot nodes", "remove it")
    if pool.reservation and not _GROUP.fullmatch(pool.reservation):
        fix = "`az capacity reservation group show --query id` prints it"
        yield Mistake(f"{key}.reservation", "is not the resource id of a capacity reservation group", fix)


def _driver(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.driver == "preinstalled":
        yield Mistake(f"{key}.driver", "AKS images do not include a driver", "use cloud or operator")
    if pool.driver == "operator" and pool.accelerator == "a10":
        problem = "Azure's A10 machines need Azure's GRID driver, which NVIDIA's operator does not install"
        yield Mistake(f"{key}.driver", problem, "use cloud")


def _sharing(pool: NodePool, key: str) -> Iterator[Mistake]:
    if pool.sharing.kind != "mig":
        return
    gpu = accelerator_by_key(pool.accelerator)
    if gpu and instance_profile(pool) is None:
        slices = [s.profile for s in gpu.mig if instance_profile(_with_profile(pool, s.profile))]
        yield Mistake.unknown(f"{key}.sharing.profile", pool.sharing.profile, f"slice of {gpu.key} in AKS", slices)
    if pool.driver == "operator":
        yield Mistake(f"{key}.driver", "AKS supports MIG with its own driver only", "use cloud with sharing mig")


def _with_profile(pool: NodePool, profile: str) -> NodePool:
    return pool.model_copy(update={"sharing": pool.sharing.model_copy(update={"profile": profile})})


def _nodes(pool: NodePool, key: str) -> Iterator[Mistake]:
    yield from no_disk_performance(key, pool)
    if pool.root_disk_gib > MAX_DISK_GIB:
        yield Mistake(f"{key}.disk_gib", f"{pool.disk_gib} exceeds the limit of AKS", f"use up to {MAX_DISK_GIB}")
    for i, zone in enumerate(pool.zones):
        if zone not in ZONES:
            yield Mistake.unknown(f"{key}.zones[{i}]", zone, "zone in Azure", ZONES)
    for label in pool.labels:
        if _is_reserved(label):
            yield Mistake(f"{key}.labels", f"'{label}' is reserved", "choose another prefix")
    for i, taint in enumerate(pool.taints):
        if taint.key.startswith(f"{_AKS_DOMAIN}/"):
            yield Mistake(f"{key}.taints[{i}].key", f"'{taint.key}' is reserved for AKS", "choose another prefix")


def _is_reserved(label: str) -> bool:
    """Returns whether a label is reserved: for AKS, or as a Kubernetes label that kubelets may not set."""
    prefix = label.rpartition("/")[0]
    if prefix in ("kubelet.kubernetes.io", "node.kubernetes.io"):
        return False
    return prefix == _AKS_DOMAIN or bool(re.search(r"(^|\.)(kubernetes|k8s)\.io$", prefix))


_POOL_CHECKS: tuple[Callable[[NodePool, str], Iterator[Mistake]], ...] = (
    _name,
    _machine,
    _capacity,
    _driver,
    _sharing,
    _nodes,
)
