"""Runs one program for a replica, and makes sure that none of its processes outlives the replica.

`python -m serving.engines.child PROGRAM ARGUMENT…`, in its own session. The replica holds the other end of this
process's standard input: when it closes, the replica has ended, for whatever reason, and every descendant of the
program is terminated, even in other sessions. A parent-death signal would not suffice: it reaches only one process,
while vLLM has several, and it is bound to the thread that started the child, while Ray's threads come and go.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_S = 10
"""Time that the program has to exit by itself."""
KILLED_S = 10
"""Time that killed processes have to disappear, on a busy host too."""
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _descendants() -> list[int]:
    """Returns every live descendant of this process, and other processes of its group. Orphans become its children: see
    `run`.
    """
    parents: dict[int, int] = {}
    alive, group = set(), set()
    for entry in Path("/proc").iterdir():
        # A process can end while it is examined.
        with contextlib.suppress(OSError, ValueError, IndexError):
            pid = int(entry.name)
            state, parent, of = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            parents[pid] = int(parent)
            if state not in "ZX":
                alive.add(pid)
            if int(of) == os.getpid():
                group.add(pid)
    found = group
    while more := {pid for pid, parent in parents.items() if parent in found or parent == os.getpid()} - found:
        found = found | more
    return sorted((found & alive) - {os.getpid()})


def _end(child: subprocess.Popen[bytes]) -> None:
    """Terminates every descendant, by SIGTERM and then SIGKILL, until none is left."""
    _signal(signal.SIGTERM)
    patience = time.monotonic() + PATIENCE_S
    while _descendants() and time.monotonic() < patience:
        _take_in(child)
        time.sleep(0.05)
    patience = time.monotonic() + KILLED_S
    # Repeatedly, since processes can start others meanwhile. It does not wait for processes blocked in the kernel.
    while _descendants() and time.monotonic() < patience:
        _signal(signal.SIGKILL)
        _take_in(child)
        time.sleep(0.05)


def _signal(number: int) -> None:
    for pid in _descendants():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _take_in(child: subprocess.Popen[bytes]) -> None:
    """Reaps orphans that have ended; the program first, whose exit status is passed on."""
    if child.poll() is None:
        return
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def run(arguments: list[str]) -> int:
    """Runs `arguments` until the program ends or standard input closes; returns an exit status."""
    waker, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphaned grandchildren become children of this process
    try:
        # This process has one thread, so that Python code between fork and exec is safe here.
        child = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
        )
    except OSError as e:
        print(f"{arguments[0]} cannot be started: {e.strerror}", file=sys.stderr)
        return 127
    ended = False
    while not ended and child.poll() is None:
        ready, _, _ = select.select([0, waker], [], [])
        ended = (0 in ready and not os.read(0, 512)) or (waker in ready and signal.SIGTERM in os.read(waker, 512))
    _end(child)  # also processes that an ended program left behind, which could hold GPUs
    status = child.wait()
    _take_in(child)
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    if os.getpgid(0) != os.getpid():
        sys.exit("it must be started in its own process group")
    sys.exit(run(sys.argv[1:]))
