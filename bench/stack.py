"""Headrace as a benchmark sees it: a stack that `make up` brought up, reached by URL and key."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.load import Target
from bench.processes import BenchError
from infra.providers.session import Session
from infra.targets.layout import CHECKOUT, Layout
from tools.stack.workspace import Workspace

STACK = "bench"


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack."""

    url: str
    key: str

    def target(self, model: str) -> Target:
        """Returns what a load is aimed at."""
        return Target(f"{self.url}/v1", model, self.key)


def verb(name: str) -> float:
    """Runs `make NAME` for the bench stack and returns its seconds; raises `BenchError` when it fails."""
    began = time.perf_counter()
    argv = [sys.executable, "-m", "tools.stack", "--stack", STACK, name]
    done = subprocess.run(argv, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    if done.returncode:
        raise BenchError(f"`make {name} STACK={STACK}` failed")
    return time.perf_counter() - began


def pids() -> Sequence[int]:
    """Returns every process that the stack started."""
    records = sorted((Layout.for_stack(STACK).state / "run").glob("*"))
    return [member.pid for record in records for member in Session(record).members()]


def current() -> Stack:
    """Returns the stack that is up."""
    outputs = Workspace.prepare(STACK).outputs()
    return Stack(str(outputs["url"]), str(outputs["api_key"]))


@contextlib.contextmanager
def running() -> Iterator[Stack]:
    """Brings the stack up; ends it afterwards unless it was up before."""
    before = bool(pids())
    verb("up")
    try:
        yield current()
    finally:
        if not before:
            verb("down")
