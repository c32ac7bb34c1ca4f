"""Whether `make plan` and a real kube-scheduler agree about a stack."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.cluster_config import MOUNTED_SECRETS
from infra.config import StackConfig
from infra.config_loader import load
from infra.gpu import fit, placement
from tests.scheduling import nodes, pods, replicas
from tests.scheduling.control_plane import ControlPlane
from tests.scheduling.stacks import Generator

Settings = dict[str, Any]

ABOUT_PLACES = re.compile(
    r"(pools\[\d+\]|pools\[\d+\]\.(cpus|gpus|replicas)|models\[\d+\]|apps\[\d+\]|gateway|retrieval): .*"
    r"|(node_pools|database|knowledge\[\d+\]|backup): .* stays Pending: .*"
)
"""Mistakes about lacking room."""


@dataclass(frozen=True)
class Outcome:
    """What was said of a stack, and what happened to it."""

    settings: Settings
    refusals: tuple[str, ...]
    pending: tuple[str, ...]
    """Pods that stay Pending, and replicas that no worker of their pool has room for."""

    @property
    def verdict(self) -> str:
        match bool(self.refusals), bool(self.pending):
            case False, True:
                return "accepted, but stays Pending"
            case True, False:
                return "refused, but runs"
        return "refused, and stays Pending" if self.refusals else "accepted, and runs"

    @property
    def agrees(self) -> bool:
        return bool(self.refusals) == bool(self.pending)


def judged(settings: Mapping[str, Any]) -> tuple[StackConfig, tuple[str, ...]] | None:
    """The configuration, and what the plan refuses for lack of room; None if it has mistakes of another kind."""
    loaded = load(settings, frozenset(settings), MOUNTED_SECRETS)
    config = loaded.config
    if (
        loaded.invalid
        or any(not ABOUT_PLACES.fullmatch(f"{m.key}: {m.problem}") for m in loaded.mistakes)
        or fit.mistakes(config)
    ):
        return None
    return config, tuple(str(mistake) for mistake in loaded.mistakes)


def random_stacks(seed: int) -> Iterator[Settings]:
    """Stacks without mistakes of other kinds, endlessly; the same for the same seed."""
    chance = random.Random(seed)
    while True:
        settings = Generator(chance.getrandbits(64)).stack()
        if judged(settings) is not None:
            yield settings


def compare(settings: Settings, control_plane: ControlPlane, home: Path, seed: int = 0) -> Outcome:
    """Makes the stack's nodes and pods in the order of `up`, and again in other orders, as after restarts of nodes.

    A stack runs if nothing stays Pending in any of them. What is refused is tried in more orders: one that leaves a pod
    Pending proves the refusal right.
    """
    found = judged(settings)
    assert found is not None, "the settings have other mistakes"
    config, refusals = found
    placed = placement.place(config)
    chance = random.Random(seed)
    made = pods.all_pods(placed, control_plane, home)
    daemons = [pod for pod in made if pod.daemon]
    first = [pod for pod in made if not pod.daemon]
    system = len([pod for pod in pods.system_pods(placed) if not pod.daemon])
    rest = first[system:]
    orders = [rest, *(chance.sample(rest, len(rest)) for _ in range(4 if refusals else 1))]
    if refusals:
        small_first = sorted(rest, key=pods.memory)
        orders += [rest[::-1], small_first, small_first[::-1]]
    pending = set(replicas.without_room(placed, made, chance))
    for order in orders:
        if pending:
            break
        cluster = nodes.Cluster(control_plane, nodes.node_groups(placed), daemons)
        pending |= set(cluster.schedule([*first[:system], *order], chance))
        cluster.clear()
    return Outcome(settings, refusals, tuple(sorted(pending)))
