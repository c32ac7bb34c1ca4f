"""The benchmarks' Headrace stack, brought up as by `make up`, with its URL and key."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.load import Target
from bench.processes import BenchError
from infra.layout import CHECKOUT, Layout
from infra.providers.session import Session
from tools.stack.workspace import Workspace

STACK = "bench"
STATE = Layout.for_stack(STACK).state


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack; `state` is its folder, which records its processes."""

    url: str
    key: str = field(repr=False)
    state: Path = STATE

    def target(self, model: str) -> Target:
        """Returns a load target for a model or assistant of the stack."""
        return Target(f"{self.url}/v1", model, self.key)

    def pids(self) -> Sequence[int]:
        """Returns the ids of all processes of the stack."""
        return process_ids(self.state)


def run_verb(name: str) -> float:
    """Runs `make NAME` for the bench stack and returns its duration in seconds; raises `BenchError` on failure."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "tools.stack", "--stack", STACK, name]
    done = subprocess.run(argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise BenchError(f"`make {name} STACK={STACK}` failed")
    return time.perf_counter() - began


def process_ids(state: Path = STATE) -> Sequence[int]:
    """Returns the ids of all processes of the stack whose folder is `state`."""
    records = sorted((state / "run").glob("*"))
    return [member.pid for record in records for member in Session(record).members()]


def running_stack() -> Stack:
    """Returns the running stack."""
    outputs = Workspace.prepare(STACK).outputs()
    return Stack(str(outputs["url"]), str(outputs["api_key"]))


@contextlib.contextmanager
def ensure_up() -> Iterator[Stack]:
    """Brings the stack up for the block, and down afterwards unless it was already up."""
    before = bool(process_ids())
    run_verb("up")
    try:
        yield running_stack()
    finally:
        if not before:
            run_verb("down")
