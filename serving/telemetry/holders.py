"""Liveness of processes that write metrics: each holds a lock on its own file in prometheus-client's folder.

The exporter can run in another container of the same pod, where it sees the folder but not the processes, and restarted
containers reuse process ids. A lock is visible to both, and ends with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

ENGINE = ".engine"
"""Suffix of the file with a process's snapshot of its engine's metrics."""


def hold(folder: Path) -> int:
    """Marks this process as a writer; returns a descriptor that must stay open.

    Waits while the exporter folds the files of an earlier process with the same id.
    """
    path = _path(folder, str(os.getpid()))
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                path.with_suffix(ENGINE).unlink(missing_ok=True)  # of an earlier process with the same id
                return descriptor
        os.close(descriptor)  # the exporter removed it during the wait


@contextlib.contextmanager
def dead(folder: Path, pids: set[str]) -> Iterator[set[str]]:
    """Yields those of `pids` whose process has ended, and blocks new processes with the same id until the end."""
    with contextlib.ExitStack() as stack:
        gone = set()
        for pid in pids:
            path = _path(folder, pid)
            try:
                descriptor = os.open(path, os.O_RDWR)
            except FileNotFoundError:
                if not Path(f"/proc/{pid}").exists():  # it never held a lock: a process of an older version
                    gone.add(pid)
                continue
            stack.callback(os.close, descriptor)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                stack.callback(path.unlink, missing_ok=True)
                gone.add(pid)
        yield gone


def _path(folder: Path, pid: str) -> Path:
    return folder / f"{pid}.lock"
