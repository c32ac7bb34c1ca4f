"""Checks of a stack's settings against the limits of AWS, before any resource is created and without its SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from infra.cloud_config import Cluster
from infra.mistakes import Mistake
from infra.nodes.accelerators import accelerator_by_key
from infra.nodes.allocatable import EVICTION, reserved_cpu
from infra.nodes.machines import MachineType, machine_types
from infra.nodes.pools import NodePool
from infra.nodes.resources import GIB, MIB, Resources
from infra.targets.aws.settings import Aws
from infra.versions import OLDEST_NODES

STORE = "s3://"
"""Beginning of the URIs of this cloud's buckets."""

VERSIONS = ("1.34", "1.35", "1.36")
"""Supported versions of Kubernetes: https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html."""

CAPACITY_BLOCK_PREFIX = "capacity-block:"
"""Prefix of a reservation that is a Capacity Block. Its id looks like that of other reservations, but EC2 launches
nothing if the wrong kind is requested."""

CAPACITY_BLOCK_FAMILIES = ("p4", "p5", "p6")
"""Machine families with Capacity Blocks: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-blocks-using.html"""

BOTTLEROCKET_GPUS = {
    "a100-40gb": "a100.40gb",
    "a100-80gb": "a100.80gb",
    "h100-80gb": "h100.80gb",
    "h200": "h200.141gb",
}
"""Bottlerocket's names of the GPUs that it can slice, as in settings.kubelet-device-plugins.nvidia.mig.profile."""

MAX_NAME_CHARACTERS = 50
"""Longest name of a pool: node groups have 63 characters, of which the prefix `pool-` and a unique suffix take 13."""

MAX_TAGS = 45
"""Most tags of the configuration: a resource can have 50, and the stack and Kubernetes add some."""

NODE_ADDRESSES = 16
"""Addresses that a node takes at least, as pods have addresses of the network too: a prefix of 16 in Auto Mode, two
interfaces of 10 or more in node groups (https://docs.aws.amazon.com/eks/latest/best-practices/vpc-cni.html)."""

RESERVED_ADDRESSES = 5
"""Addresses that AWS reserves in every subnet."""

PRIVATE_RANGES = tuple(IPv4Network(n) for n in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))
"""Ranges that EKS rejects as authorized ranges of a public API server."""

RESERVED_DOMAINS = ("kubernetes.io", "k8s.io", "eks.amazonaws.com", "karpenter.sh")
"""Domains (with subdomains) whose labels and taints are reserved for Kubernetes and EKS."""

FIRMWARE = 0.075
"""Part of a machine's memory that its operating system does not see (Karpenter's VM_MEMORY_OVERHEAD_PERCENT)."""

# kube-proxy 100m; aws-node 50m; ebs-csi-node 30m, 120Mi; eks-pod-identity-agent and node-monitoring-agent: little.
NODE_PODS = Resources(cpu=200, memory=256 * MIB, pods=5)
"""Requests of the pods that the cloud runs on every node. Read from its manifests, not from a running cluster."""


@dataclass(frozen=True)
class _PoolContext:
    """A node pool with its key in the configuration, and the settings of its cluster."""

    key: str
    pool: NodePool
    settings: Aws
    cluster: Cluster

    @property
    def auto(self) -> bool:
        return self.settings.mode == "auto"

    def mistake(self, setting: str, problem: str, fix: str) -> Mistake:
        return Mistake(f"{self.key}.{setting}", problem, fix)


def mistakes(settings: Aws, cluster: Cluster, pools: Sequence[NodePool]) -> list[Mistake]:
    """Reports settings that AWS, or EKS in the chosen mode, does not support."""
    found = [
        *_settings(settings),
        *_skew(settings, cluster),
        *_cluster(cluster),
        *_network(cluster),
        *_control_plane(settings, cluster),
    ]
    found += [*_addresses(settings, cluster, pools), *_system_nodes(settings, pools)]
    for i, pool in enumerate(pools):
        at = _PoolContext(f"node_pools[{i}]", pool, settings, cluster)
        for check in (_name, _machine, _capacity, _driver, _sharing, _scaling, _zones, _label_keys):
            found += check(at)
    return found


def advertises(settings: Aws, pool: NodePool) -> bool:
    """Returns whether the nodes themselves advertise `nvidia.com/gpu`, as with Bottlerocket and Auto Mode."""
    return bool(pool.gpus) and (settings.mode == "auto" or settings.image == "bottlerocket")


def scales(settings: Aws) -> bool:
    """Returns whether a pool grows by itself: for node groups, the stack installs nothing that does so."""
    return settings.mode == "auto"


def allocatable(machine: MachineType, disk_gib: int) -> Resources:
    """Returns what a node offers to pods, of which `NODE_PODS` take some.

    https://github.com/awslabs/amazon-eks-ami (nodeadm, `kubelet` defaults): 255 MiB, and 11 MiB for each pod.
    """
    pods = 110 if machine.vcpus <= 30 else 250
    memory = int(machine.memory_gib * GIB * (1 - FIRMWARE)) - (255 + 11 * pods) * MIB - EVICTION
    # 1 GiB is reserved, and at 10 % of the disk the kubelet evicts pods.
    storage = int((machine.local_ssd_gib or disk_gib) * GIB * 0.9) - GIB
    cpu = machine.vcpus * 1000 - reserved_cpu(machine.vcpus)
    return Resources(cpu, memory, storage, pods=_most_pods(machine))


def _most_pods(machine: MachineType) -> int:
    """Returns how many pods a node has addresses for at least, in node groups without prefixes.

    https://github.com/awslabs/amazon-eks-ami (eni-max-pods.txt), which lists each machine type.
    """
    if machine.vcpus <= 2 or (machine.name.startswith("g4dn.") and machine.vcpus <= 16):
        return 29
    return 58 if machine.vcpus <= 8 or machine.name.startswith("g4dn.") else 100


def system_pods(settings: Aws) -> Sequence[tuple[str, Resources]]:
    """Returns the requests of the cloud's other pods that run on the stack's nodes, with their names.

    In Auto Mode, DNS runs on the nodes outside of pods, and volumes are attached by the control plane.
    """
    if settings.mode == "auto":
        return ()
    # Six containers with 10m and 40Mi each: https://github.com/kubernetes-sigs/aws-ebs-csi-driver (its chart's values).
    pods = {"coredns": Resources(100, 70 * MIB), "ebs-csi-controller": Resources(60, 240 * MIB)}
    return tuple((f"{name} {i}", requests) for name, requests in pods.items() for i in (1, 2))


def is_capacity_block(pool: NodePool) -> bool:
    """Returns whether the pool's reservation is a Capacity Block."""
    return pool.reservation.startswith(CAPACITY_BLOCK_PREFIX)


def reservation_id(pool: NodePool) -> str:
    """Returns EC2's id of the pool's reservation: cr-..."""
    return pool.reservation.removeprefix(CAPACITY_BLOCK_PREFIX)


def _settings(settings: Aws) -> Iterator[Mistake]:
    if not settings.account:
        yield Mistake("aws.account", "is missing", "`aws sts get-caller-identity --query Account` prints it")
    if not settings.region:
        yield Mistake("aws.region", "is missing", "set it, for example to eu-central-1")
    if settings.region.startswith(("cn-", "us-gov-", "us-iso")):
        yield Mistake("aws.region", "is in a separate AWS partition", "use a region of the standard partition")
    if settings.mode == "auto" and settings.image != "al2023":
        yield Mistake("aws.image", "cannot be set in Auto Mode", "remove it, or use mode node_groups")
    for name, version in settings.addon_versions.items():
        key = f"aws.addon_versions.{name}"
        if settings.mode == "auto":
            yield Mistake(key, "cannot be set in Auto Mode, which has no such add-ons", "remove it")
        elif not re.fullmatch(r"v\d+(\.\d+)+-eksbuild\.\d+", version):
            fix = f"`aws eks describe-addon-versions --addon-name {name}` lists them"
            yield Mistake(key, f"'{version}' is not a version of an add-on of EKS", fix)


def _skew(settings: Aws, cluster: Cluster) -> Iterator[Mistake]:
    """Reports a pinned kube-proxy that the control plane does not support: it has the version of Kubernetes.

    https://kubernetes.io/releases/version-skew-policy/
    """
    pinned = re.match(r"v1\.(\d+)\.", settings.addon_versions.get("kube-proxy", ""))
    if pinned is None:
        return
    older = int(cluster.kubernetes_version.partition(".")[2]) - int(pinned[1])
    if not 0 <= older <= OLDEST_NODES:
        version = settings.addon_versions["kube-proxy"]
        problem = f"'{version}' is {'newer' if older < 0 else f'{older} minor versions older'} than the control plane"
        fix = f"use a version of {cluster.kubernetes_version}, or remove it"
        yield Mistake("aws.addon_versions.kube-proxy", problem, fix)


def _cluster(cluster: Cluster) -> Iterator[Mistake]:
    version = cluster.kubernetes_version
    if version not in VERSIONS:
        yield Mistake.unknown("cluster.kubernetes_version", version, "Kubernetes on EKS of version", VERSIONS)
    for i, cidr in enumerate(cluster.authorized_ranges):
        if any(cidr.overlaps(network) for network in PRIVATE_RANGES):
            fix = "use public addresses; inside the network the API server can be reached anyway"
            yield Mistake(f"cluster.authorized_ranges[{i}]", f"{cidr} is private, which EKS rejects", fix)
    for key, value in cluster.tags.items():
        if key.lower().startswith("aws:") or not 0 < len(key) <= 128 or len(value) > 256:
            problem = f"'{key[:40]}' is not a valid AWS tag"
            fix = "use keys up to 128 characters without the prefix aws:, and values up to 256"
            yield Mistake("cluster.tags", problem, fix)
    for i, admin in enumerate(cluster.admins):
        if not re.fullmatch(r"arn:aws:iam::\d{12}:(role|user)/[\w+=,.@/-]+", admin):
            fix = "use the one of a role or a user, for example arn:aws:iam::123456789012:role/ops"
            yield Mistake(f"cluster.admins[{i}]", f"'{admin[:80]}' is not an ARN of IAM", fix)
    if len(cluster.tags) > MAX_TAGS:
        yield Mistake("cluster.tags", f"has {len(cluster.tags)} tags", f"use at most {MAX_TAGS}")


def _network(cluster: Cluster) -> Iterator[Mistake]:
    network = cluster.network
    if not network.existing:
        if network.cidr.prefixlen < 16:
            yield Mistake("cluster.network.cidr", f"{network.cidr} is too large for a VPC", "use /16 to /20")
        return
    if not re.fullmatch(r"vpc-[0-9a-f]{8,17}", network.existing):
        yield Mistake("cluster.network.existing", f"'{network.existing}' is not a VPC id", "use vpc-...")
    for i, subnet in enumerate(network.subnets):
        if not re.fullmatch(r"subnet-[0-9a-f]{8,17}", subnet):
            yield Mistake(f"cluster.network.subnets[{i}]", f"'{subnet}' is not a subnet id", "use subnet-...")
    if len(set(network.subnets)) < 2:
        fix = "name private subnets in at least two availability zones"
        yield Mistake("cluster.network.subnets", "has one subnet, but EKS needs two zones", fix)


def _control_plane(settings: Aws, cluster: Cluster) -> Iterator[Mistake]:
    """Reports zones for the control plane that it cannot have."""
    if settings.zones and cluster.network.existing:
        yield Mistake("aws.zones", "applies to a new network only", "remove it; the subnets determine the zones")
        return
    for i, zone in enumerate(settings.zones):
        if settings.region and not re.fullmatch(rf"{settings.region}[a-f]", zone):
            yield Mistake(f"aws.zones[{i}]", f"'{zone}' is not a zone of {settings.region}", "use zones of the region")
    if len(settings.zones) != len(set(settings.zones)) or len(settings.zones) == 1:
        problem = "has one zone twice, or only one, but EKS needs two"
        yield Mistake("aws.zones", problem, f"name two, for example [{settings.region}a, {settings.region}b]")


def _addresses(settings: Aws, cluster: Cluster, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """Reports a new network that is too small for the nodes of all pools, and one more of each during upgrades."""
    if cluster.network.existing:
        return
    zones = {*settings.control_plane_zones, *(zone for pool in pools for zone in pool.zones)}
    each = (2 ** (32 - cluster.network.cidr.prefixlen - 3) - RESERVED_ADDRESSES) // NODE_ADDRESSES
    # Pools in the same zones share them; those without zones can have every zone.
    for usable in {frozenset(pool.zones) or frozenset(zones) for pool in pools} | {frozenset(zones)}:
        most = sum(p.max_nodes + 1 for p in pools if (frozenset(p.zones) or frozenset(zones)) <= usable)
        if most > each * len(usable):
            problem = (
                f"{cluster.network.cidr} has addresses for {each * len(usable)} nodes in {', '.join(sorted(usable))},"
                f" but the pools there have up to {most}"
            )
            yield Mistake("cluster.network.cidr", problem, "use a shorter prefix, or lower max_nodes")
            return


def _system_nodes(settings: Aws, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """Reports a stack without nodes for DNS, volume drivers and operators, which tolerate no taints."""
    if not any(
        all(t.effect == "PreferNoSchedule" for t in pool.node_taints) and (pool.min_nodes or settings.mode == "auto")
        for pool in pools
    ):
        fix = "add a pool with at least one node, without accelerator and taints"
        yield Mistake("node_pools", "has no nodes for DNS and the add-ons", fix)


def _name(at: _PoolContext) -> Iterator[Mistake]:
    if len(at.pool.name) > MAX_NAME_CHARACTERS:
        yield at.mistake("name", f"has {len(at.pool.name)} characters", f"use at most {MAX_NAME_CHARACTERS}")


def _machine(at: _PoolContext) -> Iterator[Mistake]:
    pool = at.pool
    on_aws = {m.accelerator for m in machine_types("aws") if m.accelerator}
    if pool.accelerator and pool.accelerator not in on_aws:
        yield Mistake.unknown(f"{at.key}.accelerator", pool.accelerator, "machine on AWS with accelerator", [*on_aws])
        return
    found = pool.machine("aws")
    if found is None and pool.machine_type:
        known = [m.name for m in machine_types("aws")]
        yield Mistake.unknown(f"{at.key}.machine_type", pool.machine_type, "machine type on AWS", known)
    elif found is None:
        sizes = sorted({m.gpus for m in machine_types("aws") if m.accelerator == pool.accelerator})
        problem = f"no machine type has {pool.gpus} {pool.accelerator}"
        yield at.mistake("gpus", problem, f"use {' or '.join(map(str, sizes))}")
    elif (found.accelerator, found.gpus) != (pool.accelerator, pool.gpus):
        has, requested = _gpu_text(found.accelerator, found.gpus), _gpu_text(pool.accelerator, pool.gpus)
        fix = "correct accelerator and gpus, or remove machine_type"
        yield at.mistake("machine_type", f"{found.name} has {has}, but the pool requests {requested}", fix)


def _gpu_text(accelerator: str, count: int) -> str:
    return f"{count} {accelerator}" if count else "no GPUs"


def _capacity(at: _PoolContext) -> Iterator[Mistake]:
    pool = at.pool
    if pool.capacity == "queued":
        fix = f"use on_demand, or reserved with a Capacity Block (reservation: {CAPACITY_BLOCK_PREFIX}cr-...)"
        yield at.mistake("capacity", "AWS has no queue for capacity", fix)
    if pool.surge is not None and at.auto:
        yield at.mistake("surge", "cannot be set in Auto Mode, which replaces nodes as pods need them", "remove it")
    elif pool.upgrade_surge > 1:
        problem = f"is {pool.surge}, but EKS chooses how many nodes it adds"
        yield at.mistake("surge", problem, "use 1 for additional nodes, or 0 for none")
    if pool.capacity != "reserved":
        return
    if at.auto:
        yield at.mistake("capacity", "reservations are not supported in Auto Mode", "use mode node_groups")
    if not re.fullmatch(r"cr-[0-9a-f]{8,17}", reservation_id(pool)):
        fix = f"use cr-..., or {CAPACITY_BLOCK_PREFIX}cr-... for a Capacity Block"
        yield at.mistake("reservation", "is not the id of a capacity reservation", fix)
    if len(pool.zones) != 1:
        yield at.mistake("zones", "must name exactly the reservation's zone", "set `zones: [...]` to that zone")
    found = pool.machine("aws")
    if is_capacity_block(pool) and found and not found.name.startswith(CAPACITY_BLOCK_FAMILIES):
        fix = f"use machines of {', '.join(CAPACITY_BLOCK_FAMILIES)}, or remove {CAPACITY_BLOCK_PREFIX}"
        yield at.mistake("reservation", f"there are no Capacity Blocks with {found.name}", fix)


def _driver(at: _PoolContext) -> Iterator[Mistake]:
    if at.pool.driver not in (None, "cloud"):
        # https://github.com/NVIDIA/gpu-operator/issues/1492
        problem = "NVIDIA's operator supports neither Amazon Linux 2023 nor Bottlerocket, whose images have the driver"
        yield at.mistake("driver", problem, "remove it")


def _sharing(at: _PoolContext) -> Iterator[Mistake]:
    pool, sharing = at.pool, at.pool.sharing
    if sharing.kind == "none":
        return
    if at.auto:
        yield at.mistake("sharing", "Auto Mode cannot share GPUs", "remove it, or use mode node_groups")
        return
    if sharing.kind != "mig":
        return
    gpu = accelerator_by_key(pool.accelerator)
    if at.settings.image != "bottlerocket":
        yield at.mistake("sharing", "Amazon Linux 2023 does not support MIG", "set aws.image to bottlerocket")
    elif pool.accelerator not in BOTTLEROCKET_GPUS or gpu is None:
        fix = f"use one of {', '.join(BOTTLEROCKET_GPUS)}, or another kind of sharing"
        yield at.mistake("sharing", f"Bottlerocket does not support MIG on {pool.accelerator}", fix)
    # Bottlerocket divides the whole GPU into equal slices, which 4g does not allow.
    elif sharing.profile not in (profiles := [s.profile for s in gpu.mig if not s.profile.startswith("4g.")]):
        yield Mistake.unknown(f"{at.key}.sharing.profile", sharing.profile, f"slice of {pool.accelerator}", profiles)


def _scaling(at: _PoolContext) -> Iterator[Mistake]:
    if at.auto and at.pool.autoscaled and at.pool.min_nodes:
        problem = "in Auto Mode, a pool scales from 0 nodes or has a fixed size"
        yield at.mistake("min_nodes", problem, "use 0, or the value of max_nodes")
    if not at.auto and not at.pool.min_nodes:
        problem = "is 0, but the stack installs no autoscaler that could add a node to a node group"
        yield at.mistake("min_nodes", problem, "use 1 or more, or set aws.mode to auto")


def _zones(at: _PoolContext) -> Iterator[Mistake]:
    region = at.settings.region
    for i, zone in enumerate(at.pool.zones):
        if region and not re.fullmatch(rf"{region}[a-f]", zone):
            yield at.mistake(f"zones[{i}]", f"'{zone}' is not a zone of {region}", f"use {region}a, for example")


def _label_keys(at: _PoolContext) -> Iterator[Mistake]:
    for key in at.pool.labels:
        if _is_reserved(key):
            yield at.mistake("labels", f"{key} is reserved", "use a domain of your own")
    for i, taint in enumerate(at.pool.taints):
        if _is_reserved(taint.key):
            yield at.mistake(f"taints[{i}].key", f"{taint.key} is reserved", "use a domain of your own")


def _is_reserved(key: str) -> bool:
    domain = f".{key.rpartition('/')[0]}"
    return any(domain.endswith(f".{reserved}") for reserved in RESERVED_DOMAINS)
