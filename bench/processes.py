"""Processes of a benchmark: starting them, their memory as the kernel counts it, and their processor time."""

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
"""Returns the current process ids of a contender."""

_TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """The benchmark cannot run; the message says why."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory in bytes. `pss` divides shared pages between their processes; `rss` counts them for each process."""

    pss: int
    rss: int
    processes: int


def memory_usage(pids: Sequence[int]) -> Memory:
    """Returns the memory of processes, not counting those that have ended."""
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
    """Returns the processor time of live processes and of their reaped children."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(f) for f in fields[11:15])
    return ticks / _TICK


def process_tree(pid: int) -> list[int]:
    """Returns a process and all its descendants."""
    try:
        root = psutil.Process(pid)
        return [pid, *(c.pid for c in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def running_process(
    argv: Sequence[str], *, log: Path, ready: str, env: Mapping[str, str] | None = None, seconds: float = 300
) -> Iterator[Pids]:
    """Runs `argv` during the block, which begins once the URL `ready` answers 200; yields a function for its pids.

    Raises `BenchError` when it does not become ready. All its descendants are ended with the block.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(process, ready, log, seconds)
        yield lambda: process_tree(process.pid)
    finally:
        _end(process)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise BenchError(f"{process.args!r} exited with {process.returncode}; see {log}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.2)
    raise BenchError(f"{url} did not answer within {seconds:.0f} s; see {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    members = []
    for pid in process_tree(process.pid):
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
