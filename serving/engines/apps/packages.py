"""An app's files on a node: its source, and a virtual environment with its locked requirements.

Both are named by digests of their inputs, and are created once for all replicas of a node.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from serving.config import AppModel

UNUSED_S = 14 * 86_400
"""Time after which files that no replica uses are removed."""

MAX_BYTES = 64_000_000
"""Maximum size of an unpacked app."""

SOURCE, REQUIREMENTS = "app", "requirements.txt"


class InstallError(RuntimeError):
    """An app's packages cannot be installed; the message ends with pip's last output."""


@dataclass(frozen=True, slots=True)
class AppFiles:
    """The folder of an app's source, and its Python, whose packages are below `packages`.

    The `locks` keep the files until `close`.
    """

    folder: Path
    python: Path
    packages: Path
    locks: tuple[TextIO, ...] = field(default=(), repr=False, compare=False)

    def close(self) -> None:
        """Releases the locks, so that the files can be removed when they have been unused for long."""
        for lock in self.locks:
            lock.close()


def cache() -> Path:
    """Returns the folder of all apps' files on this node."""
    configured = os.environ.get("HEADRACE_CACHE")
    return (Path(configured).resolve() if configured else Path.home() / ".cache" / "headrace") / "apps"


def prepare(app: AppModel) -> AppFiles:
    """Unpacks an app and installs its requirements, unless another replica has done so. Raises `InstallError`."""
    packed = base64.b64decode(app.archive)
    root = cache()
    root.mkdir(parents=True, exist_ok=True)
    source = root / f"source-{hashlib.sha256(packed).hexdigest()[:24]}"
    locks = [_lock_whole(source, lambda new: _unpack(packed, new))]
    folder = source / SOURCE
    requirements = source / REQUIREMENTS
    if not requirements.is_file():
        return AppFiles(folder, Path(sys.executable), Path(sys.prefix), tuple(locks))
    digest = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:24]
    packages = root / f"packages-{digest}"
    locks.append(_lock_whole(packages, lambda new: _install(app.name, requirements, new, app.start_timeout_s)))
    _remove_unused(root)
    return AppFiles(folder, packages / "bin" / "python", packages, tuple(locks))


def _lock_whole(folder: Path, fill: Callable[[Path], None]) -> TextIO:
    """Returns a lock on the folder, filling the folder first unless it is complete; concurrent callers wait."""
    whole = folder / ".whole"
    lock = folder.with_suffix(".lock").open("w")
    try:
        while True:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if whole.is_file():
                os.utime(whole)
                return lock
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not whole.is_file():  # no other process filled it in the meantime
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                whole.touch()
    except BaseException:
        lock.close()
        raise


def _unpack(packed: bytes, folder: Path) -> None:
    plain = lzma.LZMADecompressor(memlimit=256 * 1024**2).decompress(packed, MAX_BYTES + 1)
    if len(plain) > MAX_BYTES:
        raise InstallError(f"the app has more than {MAX_BYTES >> 20} MiB")
    (folder / SOURCE).mkdir()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        tar.extractall(folder, filter="data")


def _install(name: str, requirements: Path, folder: Path, timeout_s: float) -> None:
    """Creates a virtual environment without this Python's packages, and installs the requirements with pip."""
    make = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    options = ("--require-hashes", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--quiet")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RAY_") and k != "PYTHONPATH"}
    for command in (make, [*pip, *options, "-r", str(requirements)]):
        try:
            done = subprocess.run(
                command, env=inherited, capture_output=True, text=True, timeout=timeout_s, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise InstallError(f"the requirements of {name} are not installed: {e}") from None
        if done.returncode:
            said = " | ".join(done.stderr.strip().splitlines()[-5:])
            raise InstallError(f"the requirements of {name} cannot be installed: {said}")


def _remove_unused(root: Path) -> None:
    for whole in root.glob("*/.whole"):
        # Another replica may use it, or be removing it.
        with contextlib.suppress(OSError), whole.parent.with_suffix(".lock").open("w") as lock:
            if time.time() - whole.stat().st_mtime <= UNUSED_S:
                continue
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - whole.stat().st_mtime > UNUSED_S:
                whole.unlink()  # the marker first: a partly removed folder is not complete
                shutil.rmtree(whole.parent)
