"""Processes that a benchmark starts or weighs: memory as the kernel counts it, and processor time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

Pids = Callable[[], Sequence[int]]
"""Names the processes of something that is measured, anew at each call."""

_TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. `pss` shares out the pages that several processes have in common; `rss` counts them in each."""

    pss: int
    rss: int
    processes: int


def memory(pids: Sequence[int]) -> Memory:
    """Weighs processes; those that have ended count nothing."""
    pss = rss = found = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError):
            fields = dict(_rollup(pid))
            pss += fields["Pss"]
            rss += fields["Rss"]
            found += 1
    return Memory(pss, rss, found)


def _rollup(pid: int) -> Iterator[tuple[str, int]]:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_ = line.split()
        yield name.rstrip(":"), int(value) * 1024


def cpu_seconds(pids: Sequence[int]) -> float:
    """Returns the processor time of live processes and of their children that were waited for."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(f) for f in fields[11:15])
    return ticks / _TICK


def tree(pid: int) -> list[int]:
    """Returns a process and everything below it."""
    try:
        root = psutil.Process(pid)
        return [pid, *(c.pid for c in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def started(
    argv: Sequence[str], *, log: Path, ready: str, env: Mapping[str, str] | None = None, seconds: float = 300
) -> Iterator[Pids]:
    """Runs `argv` until the block ends, from when `ready` (a URL) answers 200; yields what names its processes.

    Raises `BenchError` when it does not come up. The whole tree is ended with the block.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(process, ready, log, seconds)
        yield lambda: tree(process.pid)
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{process.args!r} ended with {process.returncode}; see {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise BenchError(f"{url} does not answer after {seconds:.0f} s; see {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    members = []
    for pid in tree(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            members.append(psutil.Process(pid))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for member in members:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        _, members = psutil.wait_procs(members, timeout=5)
        if not members:
            break
    process.wait(timeout=5)
