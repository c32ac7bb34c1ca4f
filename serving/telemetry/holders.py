"""Which processes still write metrics: each holds a lock on a file of its own in prometheus-client's folder.

The exporter can run in another container of the same pod. It sees the folder there but not the processes, and a
restarted container hands out the same process ids again. A lock is seen by both, and ends with its holder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

ENGINE = ".engine"
"""How the file ends in which a process keeps what its engine counts."""


def hold(folder: Path) -> int:
    """Marks this process as one that writes; returns a descriptor that must stay open.

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
        os.close(descriptor)  # the exporter removed it while we waited


@contextlib.contextmanager
def dead(folder: Path, pids: set[str]) -> Iterator[set[str]]:
    """Yields those of `pids` whose process is gone, and keeps new ones with the same id waiting until the end."""
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
