"""Asks a cloud, before anything is made, whether its quotas and zones have room for the nodes of a stack.

It asks by the cloud's own command line, which a stack in a cloud needs anyway. How many machines are free at the
moment, no cloud says.
"""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, cast

from infra.config import StackConfig
from infra.gpu.machines import CLOUDS, MachineType
from infra.gpu.pools import NodePool
from infra.mistakes import Mistake

TIMEOUT_S = 60

Ask = Callable[[Sequence[str]], Any]
"""Runs a command of the cloud, which prints JSON, and returns that; None if it cannot be asked."""


class Capacity(Protocol):
    """The interface of a cloud's module `capacity`."""

    def mistakes(self, config: StackConfig, ask: Ask) -> Iterator[Mistake]:
        """Reports pools whose machines a quota does not allow, or a zone does not have."""
        ...


def mistakes(config: StackConfig, ask: Ask | None = None) -> list[Mistake]:
    """Reports quotas that are smaller than the stack's fewest nodes, and zones that do not offer their machine type.

    Nothing is reported where the cloud cannot be asked, for lack of its program, of a session or of a permission.
    """
    if config.target not in CLOUDS or (config.target == "gcp" and config.gcp.autopilot):
        return []
    module = cast(Capacity, importlib.import_module(f"infra.targets.{config.target}.capacity"))
    return list(module.mistakes(config, ask or run))


def run(command: Sequence[str]) -> Any:
    """Returns what a command prints as JSON; None if it is not there, fails, or takes a minute."""
    if (program := shutil.which(command[0])) is None:
        return None
    try:
        done = subprocess.run(
            [program, *command[1:]], capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
        return json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return None


def fewest(pool: NodePool) -> int:
    """Returns how many nodes of a pool must be possible: those that it starts with, and at least one."""
    return max(pool.min_nodes, 1)


def machines_of(config: StackConfig) -> list[tuple[int, NodePool, MachineType]]:
    """Returns the pools whose machine type is known, with their index."""
    found = [(i, pool, pool.machine(cast(Any, config.target))) for i, pool in enumerate(config.node_pools)]
    return [(i, pool, machine) for i, pool, machine in found if machine is not None]


def too_small(i: int, quota: str, limit: float, needed: float, unit: str, fix: str) -> Mistake:
    """Returns what is reported of a quota; `i` is the pool that does not fit any more."""
    problem = f"needs {needed:g} {unit} with the pools before it, but the quota {quota} is {limit:g}"
    return Mistake(f"node_pools[{i}]", problem, fix)


def not_offered(i: int, machine: str, missing: Sequence[str], offered: Sequence[str], place: str) -> Mistake:
    """Returns what is reported of zones, or of a whole region (`missing` is empty), without a machine type."""
    if not offered:
        return Mistake(f"node_pools[{i}]", f"{place} does not offer {machine}", "use another machine type or region")
    problem = f"{', '.join(missing)} do not offer {machine}" if len(missing) > 1 else f"{missing[0]} has no {machine}"
    return Mistake(f"node_pools[{i}].zones", problem, f"use one of {', '.join(offered)}")
