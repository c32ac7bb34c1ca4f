"""Mistakes, and lines of `make plan`, derived from the placement of a stack's pods on its nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra.gpu import disks, fit, placement, weights
from infra.mistakes import Mistake
from infra.nodes import scheduler
from infra.nodes.resources import GIB
from infra.scheduling import replicas, starts, upgrade, workload

if TYPE_CHECKING:
    from infra.config import StackConfig


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports replicas and pods that would stay Pending, and pods with too little disk for their weights.

    `fit` and `placement` report a model that fits no GPU of its pool, or a pod that fits none of its nodes.
    """
    if fit.mistakes(config) or placement.mistakes(config):
        return []
    return [*replicas.mistakes(config), *_weights(config), *_disks(config), *_pending(config)]


def _weights(config: StackConfig) -> Iterator[Mistake]:
    if config.target == "local":
        return
    for i, pool in enumerate(config.pools):
        key = f"pools[{i}].{weights.size_key(pool)}"
        if (lacking := weights.too_small(config, pool)) is not None:
            problem = f"is {lacking / GIB:.1f} GiB less than the weights that its pods download"
            yield Mistake(key, problem, "raise it, or remove it")
        for model in weights.downloaded(config, pool):
            if weights.needs_size(pool) and model.weight_bytes is None:
                at = config.models.index(model)
                problem = f"is missing, so the disk for the weights of '{model.name}' is unknown"
                yield Mistake(f"models[{at}].geometry", problem, f"set it, or {key}")


def _disks(config: StackConfig) -> Iterator[Mistake]:
    """Reports disks without room for images beside the weights."""
    for i, pool in enumerate(config.node_pools):
        if config.target in placement.NODE_POOL_RULES and (found := placement.node_use(config, pool)):
            machine, needs = found
            offered = placement.cloud_rules(machine.cloud).allocatable(machine, pool.root_disk_gib).storage
            yield from disks.mistakes(f"node_pools[{i}]", pool, needs, offered)


def _pending(config: StackConfig) -> Iterator[Mistake]:
    if (cluster := upgrade.cluster(config)) is None:
        return
    placed, cloud, groups = cluster
    seen = set()
    for pod, reason in scheduler.place_in_any_order(workload.pods(placed, cloud), groups).pending:
        key = pod.key or "node_pools"
        if key not in seen:
            seen.add(key)
            fix = "lower what it requests, or raise max_nodes, or use larger machines"
            yield Mistake(key, f"{pod.name} stays Pending: {reason}", fix)


def lines(config: StackConfig) -> Iterator[str]:
    """Yields which pods run on which nodes, and what an upgrade needs in addition. The configuration has no
    mistakes.
    """
    if (cluster := upgrade.cluster(config)) is None:
        return
    placed, cloud, groups = cluster
    pods = workload.pods(placed, cloud)
    now = scheduler.place(pods, groups)
    yield "Disks of a node:"
    for pool in placed.node_pools:
        if use := placement.node_use(placed, pool):
            machine, needs = use
            yield f"  {disks.line(pool, needs, machine)}"
    yield from starts.lines(config)
    yield "Pods with requests, as a scheduler places them:"
    yield from (f"  {node.group.name}: {', '.join(pod.name for pod in node.pods) or 'none'}" for node in now.nodes)
    yield from upgrade.lines(config)
