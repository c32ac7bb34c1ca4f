"""The lock of a stack of this checkout, and what operations that were killed leave of it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import time
from pathlib import Path
from typing import IO

import psutil

PATIENCE_S = 15


def acquire(lock: IO[str]) -> bool:
    """Takes the lock within `PATIENCE_S`: children of a killed operation hold it for a moment after its death."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                return False
            _end_orphans(Path(lock.name))
            time.sleep(0.2)
        else:
            return True


def _end_orphans(lock: Path) -> None:
    """Ends language hosts that hold the lock although their engine was killed: by themselves they end after minutes."""
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            if process.info["name"].startswith("pulumi-language") and str(lock) in {
                f.path for f in process.open_files()
            }:
                parent = process.parent()
                if parent is None or parent.name() != "pulumi":
                    process.terminate()


def is_owner_alive(lock: Path) -> bool:
    """Returns whether the engine that wrote a backend lock still runs on this host."""
    try:
        process = psutil.Process(int(json.loads(lock.read_text())["pid"]))
        return process.name() == "pulumi" and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError, ValueError, KeyError, TypeError):
        return False
