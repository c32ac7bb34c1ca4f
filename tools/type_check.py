"""`python -m tools.type_check`: runs mypy with a cache that all checkouts on this host share.

mypy takes minutes from an empty cache and seconds from a full one, whose entries it verifies by the sources' hashes. A
run works on a copy of the shared cache, which replaces the shared one at its end; runs at the same time thus do not
disturb each other, and the last one to end is kept. Arguments are passed on to mypy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path

from infra.layout import CHECKOUT
from tools import cache

PACKAGES = ("infra", "serving", "monitoring", "tools")
SOURCES = "sources.json"
"""In a cache: the file that describes the sources of the run that wrote it."""

LEFTOVER_S = 24 * 3600
"""Age in seconds from which the copy of a killed run is deleted."""

Mypy = Callable[[Path], int]
"""Runs mypy with a folder for its cache, and returns its exit status."""


def folder(checkout: Path) -> Path:
    """Returns the shared cache for this Python, this mypy and a checkout's locked packages."""
    locked = hashlib.sha256()
    for file in sorted((checkout / "requirements").glob("*.txt")):
        locked.update(f"{file.name}={cache.sha256(file)}\n".encode())
    versions = f"{platform.python_version()}-{metadata.version('mypy')}"
    return cache.root() / "mypy" / f"{versions}-{locked.hexdigest()[:12]}"


def check(checkout: Path, mypy: Mypy) -> int:
    """Runs mypy on a copy of the shared cache, and shares what it wrote unless it crashed; returns its status."""
    shared = folder(checkout)
    shared.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _delete_leftovers(shared.parent)
    work = Path(tempfile.mkdtemp(prefix=".run-", dir=shared.parent))
    try:
        sources = describe_sources(checkout)
        with cache.lock("mypy"):
            if is_usable(shared, sources):
                shutil.copytree(shared, work, dirs_exist_ok=True)
        status = mypy(work)
        if status in (0, 1):  # 1: it found errors, which it keeps with the modules; 2: it could not check
            (work / SOURCES).write_text(json.dumps(sources))
            with cache.lock("mypy"):
                shutil.rmtree(shared, ignore_errors=True)
                work.rename(shared)
        return status
    finally:
        shutil.rmtree(work, ignore_errors=True)


def describe_sources(checkout: Path) -> dict[str, list[object]]:
    """Returns each source's absolute path with its modification time in whole seconds, size and SHA-256."""
    described: dict[str, list[object]] = {}
    for file in (file for package in PACKAGES for file in sorted((checkout / package).rglob("*.py*"))):
        if file.suffix in (".py", ".pyi"):
            stat = file.stat()
            described[str(file)] = [int(stat.st_mtime), stat.st_size, cache.sha256(file)]
    return described


def is_usable(shared: Path, sources: dict[str, list[object]]) -> bool:
    """Returns whether mypy would notice each difference between `sources` and those that a cache was written for.

    It hashes a source only if its path, its size or its modification time in seconds has changed.
    """
    try:
        before = json.loads((shared / SOURCES).read_text())
        same_stat = [(before[path], now) for path, now in sources.items() if before.get(path, [])[:2] == now[:2]]
    except (OSError, ValueError, AttributeError, TypeError):
        return False
    return all(was == now for was, now in same_stat)


def _delete_leftovers(parent: Path) -> None:
    for leftover in parent.glob(".run-*"):
        with contextlib.suppress(OSError):  # another run has just ended
            if time.time() - leftover.stat().st_mtime > LEFTOVER_S:
                shutil.rmtree(leftover, ignore_errors=True)


def program(checkout: Path, arguments: Sequence[str]) -> Mypy:
    """Returns mypy with the configuration of a checkout."""

    def run(work: Path) -> int:
        command = [sys.executable, "-m", "mypy", "--cache-dir", str(work), *arguments]
        return subprocess.run(command, cwd=checkout, env={**os.environ, "PWD": str(checkout)}).returncode

    return run


if __name__ == "__main__":
    sys.exit(check(CHECKOUT, program(CHECKOUT, sys.argv[1:])))
