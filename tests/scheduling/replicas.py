"""Where Ray puts replicas: each on the next worker of its pool that has room, by what the workers say they have.

Ray's rule for SPREAD, with which Serve asks: the first node with room after the one chosen last, in a circle
(src/ray/raylet/scheduling/policy/scheduling_policy's spread policy). Serve starts applications in any order.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from infra import apps
from infra.config import StackConfig
from serving.config import HostedModel, RayServeModel, Replicas
from tests.scheduling.pods import Pod

ORDERS = 12


@dataclass
class _Worker:
    cpus: float
    gpus: int

    def take(self, cpus: float, gpus: int) -> bool:
        """Ray counts in ten thousandths."""
        if round((self.cpus - cpus) * 10_000) < 0 or self.gpus < gpus:
            return False
        self.cpus -= cpus
        self.gpus -= gpus
        return True


@dataclass(frozen=True)
class _Application:
    name: str
    replicas: Sequence[tuple[float, int]]
    added: Sequence[tuple[float, int]] = field(default=())
    """Further replicas during an update."""


def _at_start(hosted: Replicas | HostedModel) -> int:
    return hosted.autoscaling.min_replicas if hosted.autoscaling else hosted.replicas


def _applications(config: StackConfig, pool: str) -> Iterator[_Application]:
    parts = [part for part in (config.gateway, config.retrieval) if part.pool == pool]
    gateway = [(part.cpus, 0) for part in parts for _ in range(_at_start(part))]
    if gateway:
        yield _Application("gateway", gateway, gateway)
    for model in [*config.models, *apps.unpacked(config)]:
        if isinstance(model, RayServeModel) and model.pool == pool:
            number = _at_start(model)
            one = (model.cpus, model.gpus)
            yield _Application(model.name, [one] * number, [one] * model.surge(number))


def _workers(pods: Sequence[Pod], pool: str) -> list[_Worker]:
    found = []
    for pod in pods:
        if pod.labels.get("ray.io/group") == pool:
            start = dict(re.findall(r"--(num-[cg]pus)=(\d+)", pod.start))
            found.append(_Worker(int(start["num-cpus"]), int(start["num-gpus"])))
    return found


def without_room(config: StackConfig, pods: Sequence[Pod], chance: random.Random) -> Iterator[str]:
    """The replicas that have no room, at the start or during an update of one application."""
    for pool in config.pools:
        applications = list(_applications(config, pool.name))
        for _ in range(ORDERS):
            yield from _start(applications, pool.name, pods, chance)


def _start(
    applications: Sequence[_Application], pool: str, pods: Sequence[Pod], chance: random.Random
) -> Iterator[str]:
    running = [(each.name, one) for each in applications for one in each.replicas]
    chance.shuffle(running)
    for updated in applications or ():
        workers = _workers(pods, pool)
        last = chance.randrange(len(workers)) if workers else 0
        for name, (cpus, gpus) in [*running, *(("an update of " + updated.name, one) for one in updated.added)]:
            circle = [*range(last + 1, len(workers)), *range(min(last + 1, len(workers)))]
            at = next((i for i in circle if workers[i].take(cpus, gpus)), None)
            if at is None:
                yield f"replica of {name}"
                return
            last = at
