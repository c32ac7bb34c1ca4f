"""What AWS cannot do with the settings of a stack, found before anything is made; `infra.targets.aws` maps the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network

from infra.cloud_config import Aws, Cluster
from infra.gpu.accelerators import named
from infra.gpu.machines import MACHINES
from infra.gpu.pools import NodePool
from infra.mistakes import Mistake

VERSIONS = ("1.34", "1.35", "1.36")
"""Of Kubernetes: https://docs.aws.amazon.com/eks/latest/userguide/kubernetes-versions.html, from the stack's own on."""

BLOCK = "capacity-block:"
"""Before the id of a reservation: a Capacity Block. Its ids and machines look like those of other reservations, and
EC2 launches nothing when it is asked for the wrong kind."""

BLOCK_FAMILIES = ("p4", "p5", "p6")
"""https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/capacity-blocks-using.html"""

SLICED = {
    "a100-40gb": "a100.40gb",
    "a100-80gb": "a100.80gb",
    "h100-80gb": "h100.80gb",
    "h200": "h200.141gb",
}
"""What Bottlerocket calls the GPUs that it slices: settings.kubelet-device-plugins.nvidia.mig.profile."""

LONGEST_NAME = 50
"""Of a pool: a node group's name has 63 characters, of which `pool-` and what makes it unique take 13."""

MOST_TAGS = 45
"""A resource has 50; some are the stack's and Kubernetes' own."""

NOT_PUBLIC = tuple(IPv4Network(n) for n in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))
"""EKS refuses them among the ranges that may reach a public API server."""

RESERVED = ("kubernetes.io", "k8s.io", "eks.amazonaws.com", "karpenter.sh")
"""Labels and taints of these domains, and of those below them, belong to Kubernetes and to EKS."""


@dataclass(frozen=True)
class _At:
    """A pool, and where it stands."""

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
    """Everything that AWS, or EKS in the mode that is asked for, cannot do."""
    found = [*_settings(settings), *_cluster(cluster), *_network(cluster), *_untainted(settings, pools)]
    for i, pool in enumerate(pools):
        at = _At(f"node_pools[{i}]", pool, settings, cluster)
        for check in (_name, _machine, _capacity, _driver, _sharing, _scaling, _zones, _keys):
            found += check(at)
    return found


def advertises(settings: Aws, pool: NodePool) -> bool:
    """True when the nodes themselves advertise `nvidia.com/gpu`: Bottlerocket and Auto Mode bring a device plugin."""
    return bool(pool.gpus) and (settings.mode == "auto" or settings.image == "bottlerocket")


def is_block(pool: NodePool) -> bool:
    """True when the pool's capacity is a Capacity Block."""
    return pool.reservation.startswith(BLOCK)


def reservation_id(pool: NodePool) -> str:
    """As EC2 calls it: cr-..."""
    return pool.reservation.removeprefix(BLOCK)


def _settings(settings: Aws) -> Iterator[Mistake]:
    if not settings.account:
        yield Mistake("aws.account", "is missing", "`aws sts get-caller-identity --query Account` says it")
    if not settings.region:
        yield Mistake("aws.region", "is missing", "name it, for example eu-central-1")
    if settings.region.startswith(("cn-", "us-gov-", "us-iso")):
        yield Mistake("aws.region", "lies in a partition of AWS of its own", "use one of the regions open to all")
    if settings.mode == "auto" and settings.image != "al2023":
        yield Mistake("aws.image", "cannot be chosen in Auto Mode", "leave it out, or use mode node_groups")


def _cluster(cluster: Cluster) -> Iterator[Mistake]:
    version = cluster.kubernetes_version
    if version not in VERSIONS:
        yield Mistake.unknown("cluster.kubernetes_version", version, "Kubernetes on EKS of version", VERSIONS)
    for i, cidr in enumerate(cluster.authorized_ranges):
        if any(cidr.overlaps(network) for network in NOT_PUBLIC):
            fix = "name public addresses; from inside the network the API server is reached anyway"
            yield Mistake(f"cluster.authorized_ranges[{i}]", f"{cidr} is private, and EKS refuses it", fix)
    for key, value in cluster.tags.items():
        if key.lower().startswith("aws:") or not 0 < len(key) <= 128 or len(value) > 256:
            problem = f"'{key[:40]}' is no tag that AWS takes"
            yield Mistake("cluster.tags", problem, "use keys up to 128 characters, not of aws:, and values up to 256")
    if len(cluster.tags) > MOST_TAGS:
        yield Mistake("cluster.tags", f"has {len(cluster.tags)} tags", f"use at most {MOST_TAGS}")


def _network(cluster: Cluster) -> Iterator[Mistake]:
    network = cluster.network
    if not network.existing:
        if network.cidr.prefixlen < 16:
            yield Mistake("cluster.network.cidr", f"{network.cidr} is too large for a VPC", "use /16 to /20")
        return
    if not re.fullmatch(r"vpc-[0-9a-f]{8,17}", network.existing):
        yield Mistake("cluster.network.existing", f"'{network.existing}' is no id of a VPC", "use vpc-...")
    for i, subnet in enumerate(network.subnets):
        if not re.fullmatch(r"subnet-[0-9a-f]{8,17}", subnet):
            yield Mistake(f"cluster.network.subnets[{i}]", f"'{subnet}' is no id of a subnet", "use subnet-...")
    if len(set(network.subnets)) < 2:
        fix = "name private subnets of at least two availability zones"
        yield Mistake("cluster.network.subnets", "has one subnet, and EKS needs two zones", fix)


def _untainted(settings: Aws, pools: Sequence[NodePool]) -> Iterator[Mistake]:
    """DNS, the drivers of volumes and the operators take no GPUs and tolerate no taints."""
    if not any(
        all(t.effect == "PreferNoSchedule" for t in pool.node_taints) and (pool.min_nodes or settings.mode == "auto")
        for pool in pools
    ):
        fix = "add a pool of at least one node without accelerator and taints"
        yield Mistake("node_pools", "has no nodes for DNS and the add-ons", fix)


def _name(at: _At) -> Iterator[Mistake]:
    if len(at.pool.name) > LONGEST_NAME:
        yield at.mistake("name", f"has {len(at.pool.name)} characters", f"use at most {LONGEST_NAME}")


def _machine(at: _At) -> Iterator[Mistake]:
    pool = at.pool
    on_aws = {m.accelerator for m in MACHINES if m.cloud == "aws" and m.accelerator}
    if pool.accelerator and pool.accelerator not in on_aws:
        yield Mistake.unknown(f"{at.key}.accelerator", pool.accelerator, "machine on AWS with accelerator", [*on_aws])
        return
    found = pool.machine("aws")
    if found is None and pool.machine_type:
        known = [m.name for m in MACHINES if m.cloud == "aws"]
        yield Mistake.unknown(f"{at.key}.machine_type", pool.machine_type, "machine type on AWS", known)
    elif found is None:
        sizes = sorted({m.gpus for m in MACHINES if m.cloud == "aws" and m.accelerator == pool.accelerator})
        problem = f"no machine has {pool.gpus} {pool.accelerator}"
        yield at.mistake("gpus", problem, f"use {' or '.join(map(str, sizes))}")
    elif (found.accelerator, found.gpus) != (pool.accelerator, pool.gpus):
        has, asked = _gpus(found.accelerator, found.gpus), _gpus(pool.accelerator, pool.gpus)
        fix = "set accelerator and gpus to what it has, or leave machine_type out"
        yield at.mistake("machine_type", f"{found.name} has {has}, and the pool asks for {asked}", fix)


def _gpus(accelerator: str, count: int) -> str:
    return f"{count} {accelerator}" if count else "no GPUs"


def _capacity(at: _At) -> Iterator[Mistake]:
    pool = at.pool
    if pool.capacity == "queued":
        fix = f"use on_demand, or reserved with a Capacity Block (reservation: {BLOCK}cr-...)"
        yield at.mistake("capacity", "AWS has no queue for capacity", fix)
    if pool.capacity != "reserved":
        return
    if at.auto:
        yield at.mistake("capacity", "the stack reserves nothing in Auto Mode", "use mode node_groups")
    if not re.fullmatch(r"cr-[0-9a-f]{8,17}", reservation_id(pool)):
        fix = f"use cr-..., or {BLOCK}cr-... for a Capacity Block"
        yield at.mistake("reservation", "is no id of a capacity reservation", fix)
    if len(pool.zones) != 1:
        yield at.mistake("zones", "must name the one zone of the reservation", "`zones: [...]` with that zone")
    found = pool.machine("aws")
    if is_block(pool) and found and not found.name.startswith(BLOCK_FAMILIES):
        fix = f"use machines of {', '.join(BLOCK_FAMILIES)}, or leave {BLOCK} out"
        yield at.mistake("reservation", f"there are no Capacity Blocks of {found.name}", fix)


def _driver(at: _At) -> Iterator[Mistake]:
    if at.pool.driver not in (None, "cloud"):
        # https://github.com/NVIDIA/gpu-operator/issues/1492
        problem = "NVIDIA's operator knows neither Amazon Linux 2023 nor Bottlerocket, whose images bring the driver"
        yield at.mistake("driver", problem, "leave it out")


def _sharing(at: _At) -> Iterator[Mistake]:
    pool, sharing = at.pool, at.pool.sharing
    if sharing.kind == "none":
        return
    if at.auto:
        yield at.mistake("sharing", "GPUs of Auto Mode are given whole", "leave it out, or use mode node_groups")
        return
    if sharing.kind != "mig":
        return
    gpu = named(pool.accelerator)
    if at.settings.image != "bottlerocket":
        yield at.mistake("sharing", "Amazon Linux 2023 slices no GPUs", "set aws.image to bottlerocket")
    elif pool.accelerator not in SLICED or gpu is None:
        fix = f"use one of {', '.join(SLICED)}, or another kind of sharing"
        yield at.mistake("sharing", f"Bottlerocket slices no {pool.accelerator}", fix)
    # Bottlerocket slices into equal parts that leave nothing over, which 4g does.
    elif sharing.profile not in (profiles := [profile for profile, _ in gpu.mig if not profile.startswith("4g.")]):
        yield Mistake.unknown(f"{at.key}.sharing.profile", sharing.profile, f"slice of {pool.accelerator}", profiles)


def _scaling(at: _At) -> Iterator[Mistake]:
    if at.auto and at.pool.autoscaled and at.pool.min_nodes:
        problem = "Auto Mode scales a pool from no nodes, or keeps it at one size"
        yield at.mistake("min_nodes", problem, "use 0, or the same as max_nodes")
    if not at.auto and not at.pool.min_nodes:
        problem = "is 0, and the stack installs nothing that would add a node to a node group"
        yield at.mistake("min_nodes", problem, "use 1 or more, or set aws.mode to auto")


def _zones(at: _At) -> Iterator[Mistake]:
    region = at.settings.region
    for i, zone in enumerate(at.pool.zones):
        if region and not re.fullmatch(rf"{region}[a-f]", zone):
            yield at.mistake(f"zones[{i}]", f"'{zone}' is no zone of {region}", f"use {region}a and the like")


def _keys(at: _At) -> Iterator[Mistake]:
    for key in at.pool.labels:
        if _reserved(key):
            yield at.mistake("labels", f"{key} is not yours to set", "use a domain of your own")
    for i, taint in enumerate(at.pool.taints):
        if _reserved(taint.key):
            yield at.mistake(f"taints[{i}].key", f"{taint.key} is not yours to set", "use a domain of your own")


def _reserved(key: str) -> bool:
    domain = f".{key.rpartition('/')[0]}"
    return any(domain.endswith(f".{reserved}") for reserved in RESERVED)
