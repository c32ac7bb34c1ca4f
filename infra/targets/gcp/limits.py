"""Checks of a stack's settings against the limits of Google Kubernetes Engine, and resource names; without its SDK."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from ipaddress import IPv4Network
from typing import get_args

from infra.cloud_config import Cluster, Day
from infra.mistakes import Mistake
from infra.nodes import machines
from infra.nodes.accelerators import ACCELERATORS, Accelerator, accelerator_by_key
from infra.nodes.allocatable import EVICTION, reserved_cpu
from infra.nodes.machines import MachineType
from infra.nodes.pools import GPU, NodePool, no_disk_performance
from infra.nodes.resources import GIB, MIB, Resources
from infra.targets.gcp.settings import Exclusion, Gcp, GcpMaintenance
from infra.versions import KUBERNETES_AT_LEAST

NO_DEVICE_PLUGIN = "gke-no-default-nvidia-gpu-device-plugin"
"""Node label that keeps GKE's own device plugin off the node."""

STORE = "gs://"
"""Beginning of the URIs of this cloud's buckets."""

STACK_LABEL = "headrace-stack"
"""Label of all of the stack's resources in Google Cloud that can have one, with the stack's name."""

DEFAULT_ZONES = 3
"""Number of the region's zones that GKE uses if none is named."""

OPEN_PORTS = frozenset({443, 10250})
"""Ports of nodes that GKE opens to a control plane (/kubernetes-engine/docs/how-to/private-clusters)."""

MAX_POOL_NAME_CHARACTERS = 40

NEVER_ON_DEMAND = frozenset({"a3-highgpu-1g", "a3-highgpu-2g", "a3-highgpu-4g"})
"""Partial machines, offered only as spot and flex-start (/compute/docs/accelerator-optimized-machines)."""

AVAILABILITY_HOURS, AVAILABILITY_DAYS = 48, 32
"""GKE must be able to upgrade for so many hours in any period of so many days."""

WHOLE_EXCLUSIONS, WHOLE_EXCLUSION_DAYS = 3, 30
"""Most exclusions without any upgrade, and the longest of them."""

_POD_BITS = 8
"""GKE gives each node 256 addresses for its pods (/kubernetes-engine/docs/how-to/flexible-pod-cidr)."""

MAX_PODS = 110
"""Pods that a node runs at most."""

# fluentbit 100m, 200Mi; kube-proxy 100m; metadata server 100m, 100Mi; metrics agent 120Mi; netd and CSI driver.
NODE_PODS = Resources(cpu=350, memory=512 * MIB, pods=9)
"""Requests of the pods that the cloud runs on every node. Read from its manifests, not from a running cluster."""

_RESERVED = re.compile(r"^([^/]*\.)?(kubernetes\.io|k8s\.io|gke\.io|cloud\.google\.com)/")
_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def advertises(settings: Gcp, pool: NodePool) -> bool:
    """Returns whether GKE's own device plugin advertises the pool's GPUs; the stack must not install another then."""
    return pool.driver_owner != "operator"


def allocatable(machine: MachineType, disk_gib: int) -> Resources:
    """Returns what a node offers to pods, of which `NODE_PODS` take some.

    https://cloud.google.com/kubernetes-engine/docs/concepts/plan-node-sizes.
    """
    total, reserved = machine.memory_gib, 0.0
    for size, part in ((4, 0.25), (4, 0.2), (8, 0.1), (112, 0.06), (10_000_000, 0.02)):
        reserved += min(total, size) * part
        total -= min(total, size)
    # The node in that document lacks 2.7 % of the machine's memory: 13,498,416 Ki are left of 16 GiB.
    memory = int((machine.memory_gib * 0.97 - reserved) * GIB) - EVICTION
    # Its file system has 94.25 GiB of a disk of 100 (98,831,908 Ki), of which the kubelet keeps a tenth free.
    storage = int((0.9425 * disk_gib * 0.9 - min(0.5 * disk_gib, 6 + 0.35 * disk_gib, 100)) * GIB)
    if machine.local_ssds:
        storage = int((0.9 * 0.9425 * machine.local_ssd_gib - min(25 + 25 * machine.local_ssds, 100)) * GIB)
    return Resources(machine.vcpus * 1000 - reserved_cpu(machine.vcpus), memory, storage, pods=MAX_PODS)


def system_pods(settings: Gcp) -> Sequence[tuple[str, Resources]]:
    """Returns the requests of the cloud's other pods that run on the stack's nodes, with their names."""
    # kube-dns 260m, 110Mi; konnectivity-agent, metrics-server and autoscaler of DNS together about as much.
    return tuple((f"kube-dns {i}", Resources(400, 300 * MIB)) for i in (1, 2))


def resource_name(stack: str, part: str = "", longest: int = 40) -> str:
    """Returns the name of the stack's resources in Google Cloud, with a hash if the stack's name does not fit."""
    plain = re.sub(r"[^a-z0-9]+", "-", stack.lower()).strip("-")
    tail = f"-{part}" if part else ""
    whole = f"headrace-{plain}{tail}"
    if plain == stack and len(whole) <= longest:
        return whole
    digest = _digest(stack, 6)
    room = longest - len(f"headrace--{digest}{tail}")
    return f"headrace-{plain[:room].strip('-')}-{digest}{tail}"


def bucket_name(stack: str, project: str) -> str:
    """Returns the name of the stack's bucket. It has a hash of the project, since bucket names are globally unique."""
    return f"{resource_name(stack, longest=54)}-{_digest(project, 8)}"


def address_ranges(cidr: IPv4Network) -> tuple[IPv4Network, IPv4Network, IPv4Network]:
    """Divides a network's range into those of nodes, pods (one half) and Services (1024 addresses)."""
    pods, rest = cidr.subnets(1)
    nodes, last = rest.subnets(1)
    return nodes, pods, next(last.subnets(new_prefix=22))


def node_zones(pool: NodePool) -> int:
    """Returns the number of zones of a pool; GKE counts nodes per zone."""
    return len(pool.zones) or DEFAULT_ZONES


def mistakes(settings: Gcp, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
    """Reports settings that GKE does not support."""
    found = [*_project_and_region(settings), *_maintenance(settings.maintenance), *_cluster(cluster), *_tags(cluster)]
    if settings.autopilot:
        if pools:
            fix = "remove it, or set gcp.autopilot to false"
            found.append(Mistake("node_pools", "is not empty, but Autopilot creates the nodes", fix))
        return found
    found += [*_general_nodes(pools), *_addresses(cluster, pools)]
    return found + [m for i, pool in enumerate(pools) for m in _pool(f"node_pools[{i}]", settings, pool)]


def _project_and_region(settings: Gcp) -> Iterator[Mistake]:
    if not settings.project:
        yield Mistake("gcp.project", "is missing", "set it to the id of the cluster's project")
    if not settings.region:
        yield Mistake("gcp.region", "is missing", "use one that has the GPUs, for example europe-west4")


def _maintenance(wanted: GcpMaintenance) -> Iterator[Mistake]:
    """Reports windows and exclusions that GKE rejects, or that would let it upgrade at any time.

    https://docs.cloud.google.com/kubernetes-engine/docs/concepts/maintenance-windows-and-exclusions
    """
    key = "gcp.maintenance"
    whole = [each for each in wanted.exclusions if each.scope == "all"]
    for i, each in enumerate(wanted.exclusions):
        if each.scope == "all" and (days := (each.end - each.start).days) > WHOLE_EXCLUSION_DAYS:
            fix = f"use at most {WHOLE_EXCLUSION_DAYS} days, or another scope"
            yield Mistake(f"{key}.exclusions[{i}]", f"'{each.name}' lasts {days} days", fix)
    if len({each.name for each in wanted.exclusions}) < len(wanted.exclusions):
        yield Mistake(f"{key}.exclusions", "has two exclusions with one name", "give each its own")
    if len(whole) > WHOLE_EXCLUSIONS:
        problem = f"has {len(whole)} with scope all, but GKE allows {WHOLE_EXCLUSIONS}"
        yield Mistake(f"{key}.exclusions", problem, "use another scope for some")
    # Without exclusions, periods differ by their first weekday alone.
    around = range(1 - AVAILABILITY_DAYS, 1)
    starts = [each.start + timedelta(i) for each in whole for i in around] or [date(2026, 1, i) for i in range(1, 8)]
    hours, start = min((_hours_available(wanted, whole, start), start) for start in starts)
    if hours < AVAILABILITY_HOURS:
        since = f" from {start}" if whole else ""
        problem = f"leaves {hours} hours in {AVAILABILITY_DAYS} days{since}, but GKE needs {AVAILABILITY_HOURS}"
        yield Mistake(key, problem, "add days or hours, or shorten exclusions with scope all")


def _hours_available(wanted: GcpMaintenance, excluded: Sequence[Exclusion], start: date) -> int:
    days = [start + timedelta(i) for i in range(AVAILABILITY_DAYS)]
    names = get_args(Day)
    free = [d for d in days if names[d.weekday()] in wanted.days and not any(e.start <= d < e.end for e in excluded)]
    return wanted.hours * len(free)


def _cluster(cluster: Cluster) -> Iterator[Mistake]:
    if cluster.network.existing and len(cluster.network.subnets) != 1:
        problem = f"has {len(cluster.network.subnets)} subnets, but a GKE cluster has one"
        fix = "name one subnet in the region, with secondary ranges called pods and services"
        yield Mistake("cluster.network.subnets", problem, fix)
    for i, admin in enumerate(cluster.admins):
        if not re.fullmatch(r"(user|group|serviceAccount):[^@\s]+@[^@\s]+", admin):
            fix = "write user:, group: or serviceAccount: and the address, for example group:ops@example.com"
            yield Mistake(f"cluster.admins[{i}]", f"'{admin[:80]}' is not a member of Google Cloud's IAM", fix)
    if tuple(map(int, cluster.kubernetes_version.split("."))) < KUBERNETES_AT_LEAST:
        oldest = ".".join(map(str, KUBERNETES_AT_LEAST))
        problem = f"{cluster.kubernetes_version} is too old for the stack"
        yield Mistake("cluster.kubernetes_version", problem, f"use {oldest} or later")


def _tags(cluster: Cluster) -> Iterator[Mistake]:
    """Google Cloud calls them labels (https://cloud.google.com/compute/docs/labeling-resources#restrictions)."""
    fix = "use at most 63 of a-z, 0-9, - and _; a key starts with a letter"
    for key, value in cluster.tags.items():
        if key == STACK_LABEL:
            yield Mistake(f"cluster.tags.{key}", "is set by the stack itself", "choose another key")
        elif not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield Mistake(f"cluster.tags.{key}", "is not a valid label in Google Cloud", fix)


def _general_nodes(pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """Reports a stack without a pool for GKE's own pods; GKE taints GPU nodes only if there are other nodes."""
    if not any(p.min_nodes and not p.gpus and not p.taints and p.capacity != "spot" for p in pools):
        problem = "has no pool for GKE's own pods and the stack's Ray head"
        fix = "add a pool with min_nodes of at least 1, without GPUs, taints and spot capacity"
        yield Mistake("node_pools", problem, fix)


def _addresses(cluster: Cluster, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """Reports a network too small for all nodes, plus one per pool during upgrades."""
    if cluster.network.existing:
        return
    _, pods, _ = address_ranges(cluster.network.cidr)
    room = 2 ** (32 - pods.prefixlen - _POD_BITS)
    most = sum(p.max_nodes + max(1, p.upgrade_surge) for p in pools)
    if most > room:
        problem = f"{cluster.network.cidr} has pod addresses for {room} nodes, but the pools have up to {most}"
        yield Mistake("cluster.network.cidr", problem, "use a shorter prefix, or lower max_nodes")


def _pool(key: str, settings: Gcp, pool: NodePool) -> Iterator[Mistake]:
    if len(pool.name) > MAX_POOL_NAME_CHARACTERS or not pool.name[0].isalpha():
        fix = f"use at most {MAX_POOL_NAME_CHARACTERS} characters, starting with a letter"
        yield Mistake(f"{key}.name", f"'{pool.name}' is not a valid GKE node pool name", fix)
    yield from _hardware(key, pool)
    yield from _gpus(key, pool)
    yield from _capacity(key, pool)
    yield from _zones(key, settings, pool)
    yield from _labels(key, pool)
    yield from no_disk_performance(key, pool)


def _hardware(key: str, pool: NodePool) -> Iterator[Mistake]:
    gpu = accelerator_by_key(pool.accelerator)
    if pool.accelerator and (gpu is None or not gpu.gke):
        yield _accelerator(f"{key}.accelerator", pool.accelerator, gpu)
        return
    found = pool.machine("gcp")
    if found and _provides(found, pool):
        return
    if pool.machine_type and not found:
        known = [m.name for m in machines.machine_types("gcp")]
        yield Mistake.unknown(f"{key}.machine_type", pool.machine_type, "machine type", known)
        return
    if not found:
        counts = sorted({m.gpus for m in machines.machine_types("gcp") if m.accelerator == pool.accelerator})
        problem = f"no machine type has exactly {pool.gpus} x {pool.accelerator}"
        fix = f"use one of {', '.join(map(str, counts))}" if counts else "use another accelerator"
        yield Mistake(f"{key}.gpus", problem, fix)
        return
    has = f"{found.gpus} x {found.accelerator}" if found.gpus else "no GPUs"
    requested = f"{pool.gpus} x {pool.accelerator}" if pool.gpus else "none"
    problem = f"'{found.name}' has {has}, but the pool requests {requested}"
    yield Mistake(f"{key}.machine_type", problem, "remove it to use the smallest type that fits")


def _accelerator(key: str, wanted: str, gpu: Accelerator | None) -> Mistake:
    offered = [a.key for a in ACCELERATORS if a.gke]
    if gpu is None:
        return Mistake.unknown(key, wanted, "accelerator", offered)
    return Mistake(key, f"GKE has no {wanted}", f"use one of {', '.join(offered)}")


def _provides(found: MachineType, pool: NodePool) -> bool:
    if not found.attachable:
        return (found.accelerator, found.gpus) == (pool.accelerator, pool.gpus)
    if not pool.gpus:
        return True
    return found.accelerator == pool.accelerator and pool.gpus <= found.gpus and not pool.gpus & (pool.gpus - 1)


def _gpus(key: str, pool: NodePool) -> Iterator[Mistake]:
    sharing = pool.sharing
    if pool.driver_owner == "preinstalled":
        yield Mistake(f"{key}.driver", "'preinstalled' applies to on-premises hosts only", "use cloud or operator")
    if sharing.kind != "none" and pool.driver_owner == "operator":
        problem = "needs GKE's device plugin, which driver operator keeps off the nodes"
        yield Mistake(f"{key}.sharing", problem, "use driver cloud, or kind none")
    elif sharing.kind == "mps":
        # https://cloud.google.com/kubernetes-engine/docs/how-to/nvidia-mps-gpus
        problem = "mps on GKE needs pods with hostIPC, which the stack's namespace does not allow"
        yield Mistake(f"{key}.sharing.kind", problem, "use time_slicing, or mig if the GPU supports it")
    elif sharing.kind == "mig" and (gpu := accelerator_by_key(pool.accelerator)):
        profiles = [s.profile for s in gpu.mig]
        if not profiles:
            problem = f"{gpu.key} does not support MIG"
            yield Mistake(f"{key}.sharing.kind", problem, "use time_slicing, or another accelerator")
        elif sharing.profile not in profiles:
            yield Mistake.unknown(f"{key}.sharing.profile", sharing.profile, f"profile of {gpu.key}", profiles)


def _capacity(key: str, pool: NodePool) -> Iterator[Mistake]:
    machine = pool.machine("gcp")
    if machine and machine.name in NEVER_ON_DEMAND and pool.capacity in ("on_demand", "reserved"):
        problem = f"'{machine.name}' is available only as spot or queued"
        yield Mistake(f"{key}.capacity", problem, "use one of these, or a machine with 8 GPUs")
    if pool.capacity != "queued":
        return
    if pool.surge is not None:
        yield Mistake(f"{key}.surge", "GKE does not upgrade queued nodes, which live for seven days", "remove it")
    if not pool.gpus:
        yield Mistake(f"{key}.capacity", "queued requires GPUs, but the pool has none", "use on_demand or spot")
    if pool.min_nodes:
        problem = f"is {pool.min_nodes}, but queued nodes are created on request only"
        yield Mistake(f"{key}.min_nodes", problem, "use 0 with capacity queued")


def _zones(key: str, settings: Gcp, pool: NodePool) -> Iterator[Mistake]:
    outside = [z for z in pool.zones if not re.fullmatch(rf"{re.escape(settings.region)}-[a-z]", z)]
    if settings.region and outside:
        fix = f"use zones of the region, for example {settings.region}-b"
        yield Mistake(f"{key}.zones", f"{', '.join(outside)} is not in {settings.region}", fix)
    if pool.capacity == "reserved":
        if len(pool.zones) != 1:
            fix = "name only the reservation's zone"
            yield Mistake(f"{key}.zones", "a reservation is in exactly one zone", fix)
    elif pool.gpus and not pool.zones:
        problem = f"is missing, but not every zone has {pool.accelerator}"
        fix = f"`gcloud compute accelerator-types list --filter=zone~{settings.region}` lists the zones that have it"
        yield Mistake(f"{key}.zones", problem, fix)
    elif not pool.autoscaled and pool.max_nodes % node_zones(pool):
        problem = f"GKE counts nodes per zone, but {pool.max_nodes} nodes do not divide into {node_zones(pool)} zones"
        yield Mistake(f"{key}.zones", problem, "name a number of zones that divides the nodes, for example one")


def _labels(key: str, pool: NodePool) -> Iterator[Mistake]:
    for label in pool.labels:
        if _RESERVED.match(label) or label == NO_DEVICE_PLUGIN:
            yield Mistake(f"{key}.labels.{label}", "is reserved for GKE", "choose another key")
    for i, taint in enumerate(pool.taints):
        if taint.key == GPU:
            yield Mistake(f"{key}.taints[{i}]", f"GKE adds the taint {GPU} itself", "remove it")
        elif _RESERVED.match(taint.key):
            yield Mistake(f"{key}.taints[{i}].key", f"'{taint.key}' is reserved for GKE", "choose another key")


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
