"""What a cloud says beforehand: how it is asked by its command line, and what is reported of quotas and zones.

How many machines are free at the moment, no cloud says.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from infra.mistakes import Mistake
from infra.nodes.machines import Cloud, MachineType
from infra.nodes.pools import NodePool
from infra.resources.inquiry import Ask, NoAnswer

Run = Callable[[Sequence[str], float], Any]
"""Runs a command of the cloud, which prints JSON, for at most so many seconds, and returns that. Raises `NoAnswer`."""


def run_program(command: Sequence[str], limit_s: float) -> Any:
    """Returns what a command prints as JSON. Raises `NoAnswer` if it is not there, fails, or takes longer."""
    if (program := shutil.which(command[0])) is None:
        raise NoAnswer(f"the program {command[0]} is not on PATH")
    try:
        # A group of its own: these programs are scripts that start another one.
        running = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as e:
        raise NoAnswer(f"`{_first_words(command)}` cannot be run: {e.strerror}") from None
    with running:
        try:
            printed, complained = running.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            raise NoAnswer(f"`{_first_words(command)}` did not end in time") from None
    if running.returncode:
        said = [line for line in complained.splitlines() if line.strip()]
        raise NoAnswer(f"`{_first_words(command)}` failed{f': {said[-1].strip()[:200]}' if said else ''}")
    try:
        return json.loads(printed)
    except ValueError:
        raise NoAnswer(f"`{_first_words(command)}` did not print JSON") from None


def asking(run: Run, command: Sequence[str], read: Callable[[Any], Any]) -> Ask:
    """Returns a question that runs a command; `read` returns what its answer says, or None if it has another form."""

    def ask(limit_s: float) -> Any:
        answer = run(command, limit_s)
        try:
            found = read(answer)
        except (LookupError, TypeError, ValueError, AttributeError):
            found = None
        if found is None:
            raise NoAnswer(f"`{_first_words(command)}` answers in a form that is not known")
        return found

    return ask


def _first_words(command: Sequence[str]) -> str:
    """Returns the words of a command that say what it does."""
    return " ".join(itertools.takewhile(lambda word: not word.startswith("-"), command))


def fewest(pool: NodePool) -> int:
    """Returns how many nodes of a pool must be possible: those that it starts with, and at least one."""
    return max(pool.min_nodes, 1)


def machines_of(cloud: Cloud, pools: Sequence[NodePool]) -> list[tuple[int, NodePool, MachineType]]:
    """Returns the pools whose machine type is known, with their index."""
    found = [(i, pool, pool.machine(cloud)) for i, pool in enumerate(pools)]
    return [(i, pool, machine) for i, pool, machine in found if machine is not None]


def too_small(i: int, quota: str, limit: float, needed: float, unit: str, fix: str, counted: str = "") -> Mistake:
    """Returns what is reported of a quota; `i` is the pool that does not fit any more, `counted` is counted too."""
    problem = f"needs {needed:g} {unit} with {counted}the pools before it, but the quota {quota} is {limit:g}"
    return Mistake(f"node_pools[{i}]", problem, fix)


def too_few_addresses(quota: str, limit: float, needed: int, used: int, fix: str) -> Mistake:
    """Returns what is reported of a quota of public addresses; others use `used` of them already."""
    beside = f" beside the {used} that are in use" if used else ""
    addresses = "a public address" if needed == 1 else f"{needed} public addresses"
    return Mistake("cluster.network", f"needs {addresses}{beside}, but the quota {quota} is {limit:g}", fix)


def not_offered(i: int, machine: str, missing: Sequence[str], offered: Sequence[str], place: str) -> Mistake:
    """Returns what is reported of zones, or of a whole region (`missing` is empty), without a machine type."""
    if not offered:
        return Mistake(f"node_pools[{i}]", f"{place} does not offer {machine}", "use another machine type or region")
    problem = f"{', '.join(missing)} do not offer {machine}" if len(missing) > 1 else f"{missing[0]} has no {machine}"
    return Mistake(f"node_pools[{i}].zones", problem, f"use one of {', '.join(offered)}")
