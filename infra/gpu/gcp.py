"""What Google Kubernetes Engine can do with node pools, without its SDK."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from infra.cloud_config import Cluster, Gcp
from infra.gpu import machines
from infra.gpu.accelerators import ACCELERATORS, Accelerator, named
from infra.gpu.machines import Machine
from infra.gpu.pools import GPU, NodePool
from infra.mistakes import Mistake
from infra.versions import KUBERNETES_AT_LEAST

NO_DEVICE_PLUGIN = "gke-no-default-nvidia-gpu-device-plugin"
"""Label of a node that keeps GKE's own device plugin off it."""

STACK_LABEL = "headrace-stack"
"""Label, in Google Cloud, of everything that can have one: the stack that made it."""

REGION_ZONES = 3
"""Zones that GKE takes of a region when none is named."""

POOL_NAME_LONGEST = 40

NEVER_ON_DEMAND = frozenset({"a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"})
"""Parts of a machine, sold as spot and flex-start alone (/compute/docs/accelerator-optimized-machines)."""

_POD_BITS = 8
"""GKE gives each node 256 addresses for its 110 pods (/kubernetes-engine/docs/how-to/flexible-pod-cidr)."""

_RESERVED = re.compile(r"^([^/]*\.)?(kubernetes\.io|k8s\.io|gke\.io|cloud\.google\.com)/")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def advertises(settings: Gcp, pool: NodePool) -> bool:
    """True when GKE's own device plugin advertises the pool's GPUs: the stack must then install none."""
    return pool.driver_owner != "operator"


def name(stack: str, part: str = "", longest: int = 40) -> str:
    """What the stack's resources are called in Google Cloud; a hash stands for what a name cannot have."""
    plain = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    tail = f"-{part}" if part else ""
    whole = f"headrace-{plain}{tail}"
    if plain == stack and len(whole) <= longest:
        return whole
    digest = _digest(stack, 6)
    room = longest - len(f"headrace--{digest}{tail}")
    return f"headrace-{plain[:room].strip('-')}-{digest}{tail}"


def bucket(stack: str, project: str) -> str:
    """Name of the stack's bucket; the project's hash keeps it apart in the one namespace of all buckets."""
    return f"{name(stack, longest=54)}-{_digest(project, 8)}"


def ranges(cidr: IPv4Network) -> tuple[IPv4Network, IPv4Network, IPv4Network]:
    """Parts of a network's range for nodes, pods (half of it) and Services (1024)."""
    pods, rest = cidr.subnets(1)
    nodes, last = rest.subnets(1)
    return nodes, pods, next(last.subnets(new_prefix=22))


def node_zones(pool: NodePool) -> int:
    """How many zones a pool's nodes are in; GKE counts nodes by zone."""
    return len(pool.zones) or REGION_ZONES


def mistakes(settings: Gcp, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
    """What GKE cannot make of these settings."""
    found = [*_place(settings), *_cluster(cluster), *_tags(cluster)]
    if settings.autopilot:
        if pools:
            fix = "remove it, or set gcp.autopilot to false"
            found.append(Mistake("node_pools", "is not empty, and Autopilot makes the nodes", fix))
        return found
    found += [*_first_nodes(pools), *_addresses(cluster, pools)]
    return found + [m for i, pool in enumerate(pools) for m in _pool(f"node_pools[{i}]", settings, pool)]


def _place(settings: Gcp) -> Iterator[Mistake]:
    if not settings.project:
        yield Mistake("gcp.project", "is missing", "name the id of the project that the cluster is to be in")
    if not settings.region:
        yield Mistake("gcp.region", "is missing", "name one that has the GPUs, for example europe-west4")


def _cluster(cluster: Cluster) -> Iterator[Mistake]:
    if cluster.network.existing and len(cluster.network.subnets) != 1:
        problem = f"names {len(cluster.network.subnets)}, and a GKE cluster has one"
        fix = "name the one of the region; it needs secondary ranges called pods and services"
        yield Mistake("cluster.network.subnets", problem, fix)
    if tuple(map(int, cluster.kubernetes_version.split("."))) < KUBERNETES_AT_LEAST:
        oldest = ".".join(map(str, KUBERNETES_AT_LEAST))
        problem = f"{cluster.kubernetes_version} is older than the stack can use"
        yield Mistake("cluster.kubernetes_version", problem, f"use {oldest} or later")


def _tags(cluster: Cluster) -> Iterator[Mistake]:
    """Google Cloud calls them labels (https://cloud.google.com/compute/docs/labeling-resources#restrictions)."""
    fix = "use at most 63 of a-z, 0-9, - and _; a key starts with a letter"
    for key, value in cluster.tags.items():
        if key == STACK_LABEL:
            yield Mistake(f"cluster.tags.{key}", "is the stack's own label", "choose another key")
        elif not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield Mistake(f"cluster.tags.{key}", "is no label of Google Cloud", fix)


def _first_nodes(pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """GKE's own pods need nodes, and GKE taints nodes with GPUs only where there are others."""
    if not any(p.min_nodes and not p.gpus and not p.taints and p.capacity != "spot" for p in pools):
        problem = "has no pool for GKE's own pods and the stack's head"
        fix = "add one with min_nodes of at least 1, without GPUs and taints, not of spot capacity"
        yield Mistake("node_pools", problem, fix)


def _addresses(cluster: Cluster, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """An upgrade adds a node to each pool for a while."""
    if cluster.network.existing:
        return
    _, pods, _ = ranges(cluster.network.cidr)
    room = 2 ** (32 - pods.prefixlen - _POD_BITS)
    most = sum(p.max_nodes + 1 for p in pools)
    if most > room:
        problem = f"{cluster.network.cidr} has addresses for the pods of {room} nodes, and the pools have up to {most}"
        yield Mistake("cluster.network.cidr", problem, "use a shorter prefix, or lower max_nodes")


def _pool(key: str, settings: Gcp, pool: NodePool) -> Iterator[Mistake]:
    if len(pool.name) > POOL_NAME_LONGEST or not pool.name[0].isalpha():
        fix = f"use at most {POOL_NAME_LONGEST} characters, the first a letter"
        yield Mistake(f"{key}.name", f"'{pool.name}' is no name of a GKE node pool", fix)
    yield from _hardware(key, pool)
    yield from _gpus(key, pool)
    yield from _capacity(key, pool)
    yield from _zones(key, settings, pool)
    yield from _labels(key, pool)


def _hardware(key: str, pool: NodePool) -> Iterator[Mistake]:
    gpu = named(pool.accelerator)
    if pool.accelerator and (gpu is None or not gpu.gke):
        yield _accelerator(f"{key}.accelerator", pool.accelerator, gpu)
        return
    found = pool.machine("gcp")
    if found and _has(found, pool):
        return
    if pool.machine_type and not found:
        known = [m.name for m in machines.MACHINES if m.cloud == "gcp"]
        yield Mistake.unknown(f"{key}.machine_type", pool.machine_type, "machine type", known)
        return
    if not found:
        counts = sorted({m.gpus for m in machines.MACHINES if m.cloud == "gcp" and m.accelerator == pool.accelerator})
        problem = f"no machine type has exactly {pool.gpus} x {pool.accelerator}"
        fix = f"use one of {', '.join(map(str, counts))}" if counts else "use another accelerator"
        yield Mistake(f"{key}.gpus", problem, fix)
        return
    had = f"{found.gpus} x {found.accelerator}" if found.gpus else "no GPUs"
    wanted = f"{pool.gpus} x {pool.accelerator}" if pool.gpus else "none"
    problem = f"'{found.name}' comes with {had}, and the pool says {wanted}"
    yield Mistake(f"{key}.machine_type", problem, "leave it out to get the smallest that fits")


def _accelerator(key: str, wanted: str, gpu: Accelerator | None) -> Mistake:
    offered = [a.key for a in ACCELERATORS if a.gke]
    if gpu is None:
        return Mistake.unknown(key, wanted, "accelerator", offered)
    return Mistake(key, f"GKE has no {wanted}", f"use one of {', '.join(offered)}")


def _has(found: Machine, pool: NodePool) -> bool:
    if not found.attachable:
        return (found.accelerator, found.gpus) == (pool.accelerator, pool.gpus)
    if not pool.gpus:
        return True
    return found.accelerator == pool.accelerator and pool.gpus <= found.gpus and not pool.gpus & (pool.gpus - 1)


def _gpus(key: str, pool: NodePool) -> Iterator[Mistake]:
    sharing = pool.sharing
    if pool.driver_owner == "preinstalled":
        yield Mistake(f"{key}.driver", "'preinstalled' belongs to machines of yours", "use cloud, or operator")
    if sharing.kind != "none" and pool.driver_owner == "operator":
        problem = "is GKE's device plugin's work, and driver operator keeps that off the nodes"
        yield Mistake(f"{key}.sharing", problem, "use driver cloud, or kind none")
    elif sharing.kind == "mps":
        # https://cloud.google.com/kubernetes-engine/docs/how-to/nvidia-mps-gpus
        problem = "mps on GKE needs pods with hostIPC, which the stack's namespace refuses"
        yield Mistake(f"{key}.sharing.kind", problem, "use time_slicing, or mig where the GPU has it")
    elif sharing.kind == "mig" and (gpu := named(pool.accelerator)):
        profiles = [profile for profile, _ in gpu.mig]
        if not profiles:
            problem = f"{gpu.key} cannot be sliced"
            yield Mistake(f"{key}.sharing.kind", problem, "use time_slicing, or another accelerator")
        elif sharing.profile not in profiles:
            yield Mistake.unknown(f"{key}.sharing.profile", sharing.profile, f"profile of {gpu.key}", profiles)


def _capacity(key: str, pool: NodePool) -> Iterator[Mistake]:
    machine = pool.machine("gcp")
    if machine and machine.name in NEVER_ON_DEMAND and pool.capacity in ("on_demand", "reserved"):
        problem = f"'{machine.name}' is to be had as spot or queued alone"
        yield Mistake(f"{key}.capacity", problem, "use one of these, or all 8 GPUs of a machine")
    if pool.capacity != "queued":
        return
    if not pool.gpus:
        yield Mistake(f"{key}.capacity", "queued is for GPUs, and the pool has none", "use on_demand or spot")
    if pool.min_nodes:
        problem = f"{pool.min_nodes} nodes cannot be there before they are queued for"
        yield Mistake(f"{key}.min_nodes", problem, "use 0 with capacity queued")


def _zones(key: str, settings: Gcp, pool: NodePool) -> Iterator[Mistake]:
    outside = [z for z in pool.zones if not re.fullmatch(rf"{re.escape(settings.region)}-[a-z]", z)]
    if settings.region and outside:
        fix = f"name zones of it, for example {settings.region}-b"
        yield Mistake(f"{key}.zones", f"{', '.join(outside)} is not in {settings.region}", fix)
    if pool.capacity == "reserved":
        if len(pool.zones) != 1:
            fix = "name the zone of the reservation, and it alone"
            yield Mistake(f"{key}.zones", "a reservation lies in one zone", fix)
    elif pool.gpus and not pool.zones:
        problem = f"is missing, and not every zone has {pool.accelerator}"
        fix = f"name those that `gcloud compute accelerator-types list --filter=zone~{settings.region}` shows"
        yield Mistake(f"{key}.zones", problem, fix)
    elif not pool.autoscaled and pool.max_nodes % node_zones(pool):
        problem = f"GKE counts nodes by zone, and {pool.max_nodes} do not divide over {node_zones(pool)}"
        yield Mistake(f"{key}.zones", problem, "name zones whose number divides them, for example one")


def _labels(key: str, pool: NodePool) -> Iterator[Mistake]:
    for label in pool.labels:
        if _RESERVED.match(label) or label == NO_DEVICE_PLUGIN:
            yield Mistake(f"{key}.labels.{label}", "is GKE's own", "choose another key")
    for i, taint in enumerate(pool.taints):
        if taint.key == GPU:
            yield Mistake(f"{key}.taints[{i}]", f"{GPU} is put on nodes with GPUs by GKE itself", "remove it")
        elif _RESERVED.match(taint.key):
            yield Mistake(f"{key}.taints[{i}].key", f"'{taint.key}' is GKE's own", "choose another key")


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
