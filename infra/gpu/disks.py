"""The disks of nodes: what images and weights need of them, and the size and throughput that follow.

Pods store weights in the node's `ephemeral-storage`: the root disk, or the machine's local SSDs if they are large
(`infra.nodes.machines`). Figures of gp3: https://docs.aws.amazon.com/ebs/latest/userguide/general-purpose.html.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.gpu import weights
from infra.mistakes import Mistake
from infra.nodes.pools import DISK_GIB, LEAST_IOPS, LEAST_THROUGHPUT, MOST_THROUGHPUT
from infra.nodes.resources import GIB, MIB, parse_quantity
from serving.config import VllmModel

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.cluster_config import Pool
    from infra.config import StackConfig
    from infra.nodes.machines import MachineType
    from infra.nodes.pools import LEAST_IOPS, LEAST_THROUGHPUT, MOST_THROUGHPUT, NodePool
    from infra.nodes.resources import Resources

IMAGES = 3 * GIB
"""Room on each node for the serving image and those of add-ons, packed and unpacked: an estimate."""

VLLM_IMAGE = 15 * GIB
"""Room for the image with vLLM, packed and unpacked: an estimate. Its CUDA libraries alone unpack to about 6 GB."""

HEADROOM = 1.1
"""Factor for logs and for files that pods write, at which a default disk is not yet full."""

STEP_GIB = 50

READ_S = 300
"""Time in seconds in which a gp3 disk reads the weights of its node, with the default throughput."""

IOPS_PER_MIBPS = 4
"""Operations per second that gp3 requires for each MiB/s."""


@dataclass(frozen=True)
class Use:
    """What one node stores, in bytes."""

    images: int
    stored: int
    """The disk that its pods request."""
    folder: int
    """Size of the folder with weights, which is on the root disk."""
    read: int
    """Weights that its pods read from their own storage."""
    read_folder: int
    """Weights that its pods read from the folder."""


def use(config: StackConfig, nodes: NodePool, machine: MachineType, gpus: int) -> Use:
    """Counts what a node of the pool `nodes` stores at most; `gpus` is the number that it offers."""
    images, stored, folder, read, read_folder = IMAGES, 0, 0, 0, 0
    for pool in config.pools:
        if pool.node_pool != nodes.name:
            continue
        each = _pods_per_node(pool, machine, gpus)
        stored += each * int(parse_quantity(weights.temporary_storage(config, pool) or "0"))
        if pool.weights is None:
            read += each * weights.known_bytes(config, pool)
        elif pool.weights.kind == "node":
            folder += int(parse_quantity(weights.volume_size(config, pool)))
            read_folder += each * weights.known_bytes(config, pool)
        if any(isinstance(model, VllmModel) and model.pool == pool.name for model in config.models):
            images = IMAGES + VLLM_IMAGE
    return Use(images, stored, folder, read, read_folder)


def _pods_per_node(pool: Pool, machine: MachineType, gpus: int) -> int:
    room = gpus // pool.gpus if pool.gpus else math.floor(machine.vcpus / (pool.reserved_cpus or pool.cpus))
    return min(pool.max_replicas or pool.replicas, max(room, 1))


def sized(
    nodes: NodePool,
    needs: Use,
    machine: MachineType,
    allocatable: Callable[[MachineType, int], Resources],
    largest: int,
) -> NodePool:
    """Returns the pool with the size of its disk, and on AWS with throughput and operations, where it sets none."""
    disk = nodes.disk_gib or _disk_gib(needs, machine, allocatable, largest)
    update: dict[str, int] = {"disk_gib": disk}
    if machine.cloud == "aws":
        read = needs.read_folder + (0 if machine.local_ssds else needs.read)
        wanted = min(max(math.ceil(read / READ_S / MIB), LEAST_THROUGHPUT), MOST_THROUGHPUT)
        throughput = nodes.disk_throughput or min(wanted, (nodes.disk_iops or 10**9) // IOPS_PER_MIBPS)
        update["disk_throughput"] = throughput
        update["disk_iops"] = nodes.disk_iops or max(LEAST_IOPS, IOPS_PER_MIBPS * throughput)
    return nodes.model_copy(update=update)


def _disk_gib(
    needs: Use, machine: MachineType, allocatable: Callable[[MachineType, int], Resources], largest: int
) -> int:
    if machine.local_ssds:
        return min(DISK_GIB + math.ceil(needs.folder * HEADROOM / GIB), largest)
    wanted = HEADROOM * (needs.images + needs.stored + needs.folder)
    size = DISK_GIB
    while size < largest and allocatable(machine, size).storage < wanted:
        size = min(size + STEP_GIB, largest)
    return size


def mistakes(key: str, nodes: NodePool, needs: Use, offered: int) -> Iterator[Mistake]:
    """Reports a disk that has no room for images beside what its pods store; `offered` are the bytes for pods."""
    if needs.stored <= offered < needs.stored + needs.images and nodes.disk_gib:
        problem = (
            f"{nodes.disk_gib} GiB leave {offered / GIB:.1f} GiB to pods, but images take about"
            f" {needs.images / GIB:.0f} GiB and the pods store {needs.stored / GIB:.0f} GiB"
        )
        yield Mistake(f"{key}.disk_gib", problem, "leave it out: the default follows from the weights")


def line(nodes: NodePool, needs: Use, machine: MachineType) -> str:
    """Returns a line of the plan about the disk of a placed pool's nodes."""
    speed = f", {nodes.disk_throughput:,} MiB/s, {nodes.disk_iops:,} IOPS" if nodes.disk_throughput else ""
    local = f"; pods use {machine.local_ssds} local SSDs, {machine.local_ssd_gib:,} GiB" if machine.local_ssds else ""
    read = needs.read + needs.read_folder
    held = f"weights {read / GIB:.1f} GiB, " if read else ""
    held += f"images about {needs.images / GIB:.0f} GiB"
    return f"{nodes.name}: {nodes.root_disk_gib:,} GiB{speed}{local}; {held}"
