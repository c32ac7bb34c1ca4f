"""Checks whether Ray Serve's replicas fit into the pods of their pools."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from infra import apps
from infra.mistakes import Mistake
from infra.nodes import scheduler
from infra.nodes.resources import Resources
from infra.nodes.scheduler import Group, PodRequest
from serving.config import RayServeModel

if TYPE_CHECKING:
    from infra.cluster_config import Pool
    from infra.config import StackConfig
    from serving.config import HostedModel, Replicas


def at_start(hosted: Replicas | HostedModel) -> int:
    """Returns the number of replicas that Serve starts at first, and keeps at least."""
    return hosted.autoscaling.min_replicas if hosted.autoscaling else hosted.replicas


def cpus_of_worker(pool: Pool) -> int:
    """Returns the CPUs of each pod of a pool as Ray counts them: KubeRay rounds them up to a whole number."""
    return math.ceil(pool.cpus)


def _replicas(key: str, name: str, number: int, cpus: float, gpus: int = 0) -> list[PodRequest]:
    requests = Resources(cpu=round(cpus * 1000), gpus=gpus)
    return [PodRequest(f"replica {i + 1} of {name}", requests, key=key) for i in range(number)]


def _applications(config: StackConfig, pool: Pool) -> Iterator[tuple[list[PodRequest], list[PodRequest]]]:
    """Yields the replicas of each application in a pool, and the additional ones of an update."""
    parts = [("gateway", config.gateway), ("retrieval", config.retrieval)]
    here = [pod for key, at in parts if at.pool == pool.name for pod in _replicas(key, key, at_start(at), at.cpus)]
    if here:
        yield here, here
    hosted = [(f"models[{i}]", model) for i, model in enumerate(config.models) if isinstance(model, RayServeModel)]
    for key, model in [*hosted, *((f"apps[{i}]", app) for i, app in enumerate(apps.unpacked(config)))]:
        if model.pool == pool.name:
            number = at_start(model)
            yield (
                _replicas(key, f"'{model.name}'", number, model.cpus, model.gpus),
                _replicas(key, f"'{model.name}'", model.surge(number), model.cpus, model.gpus),
            )


def mistakes(config: StackConfig) -> list[Mistake]:
    """Reports replicas that fit into no pod of their pool, at the start or during an update of one application."""
    if config.target == "local":
        return []
    found = []
    for pool in config.pools:
        most = pool.max_replicas or pool.replicas
        pods = Group(pool.name, Resources(cpu=cpus_of_worker(pool) * 1000, gpus=pool.gpus), most, most)
        applications = list(_applications(config, pool))
        running = [pod for replicas, _ in applications for pod in replicas]
        if pending := scheduler.place_in_any_order(running, [pods], "pod", scheduler.round_robin).pending:
            pod, reason = pending[0]
            found.append(Mistake(pod.key, f"{pod.name} does not fit: {reason}", "raise replicas or size of the pool"))
            continue
        for _, added in applications:
            if pending := scheduler.place([*running, *added], [pods], "pod", scheduler.round_robin()).pending:
                pod, reason = pending[0]
                fix = "raise replicas of the pool"
                if pod.key.startswith("models") and pod.requests.gpus:
                    fix += ", or set max_surge_percent: 0, which updates without a further replica"
                found.append(
                    Mistake(pod.key, f"an update starts an additional replica, which does not fit: {reason}", fix)
                )
                break
    return found
