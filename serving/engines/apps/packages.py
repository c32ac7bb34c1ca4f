"""An app's files on a node: its source, and a virtual environment with its locked requirements.

Both are named after what they are made of, and made once for all replicas of a node.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serving.config import AppModel

UNUSED_S = 14 * 86_400
"""What no replica has started from for so long is removed."""

MAX_BYTES = 64_000_000
"""Of an unpacked app."""

SOURCE, REQUIREMENTS = "app", "requirements.txt"


class InstallError(RuntimeError):
    """An app's packages cannot be installed; the message ends with what pip said last."""


@dataclass(frozen=True, slots=True)
class AppFiles:
    """Where an app's source lies, and the Python that runs it, whose packages are below `packages`."""

    folder: Path
    python: Path
    packages: Path


def cache() -> Path:
    """Returns the folder of all apps' files on this node."""
    configured = os.environ.get("HEADRACE_CACHE")
    return (Path(configured).resolve() if configured else Path.home() / ".cache" / "headrace") / "apps"


def prepare(app: AppModel) -> AppFiles:
    """Unpacks an app and installs its requirements, unless another replica did. Raises `InstallError`."""
    packed = base64.b64decode(app.archive)
    root = cache()
    root.mkdir(parents=True, exist_ok=True)
    source = root / f"source-{hashlib.sha256(packed).hexdigest()[:24]}"
    with _made_once(source) as new:
        if new is not None:
            _unpack(packed, new)
    folder = source / SOURCE
    requirements = source / REQUIREMENTS
    if not requirements.is_file():
        return AppFiles(folder, Path(sys.executable), Path(sys.prefix))
    digest = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()[:24]
    packages = root / f"packages-{digest}"
    with _made_once(packages) as new:
        if new is not None:
            _install(app.name, requirements, new, app.start_timeout_s)
    _remove_unused(root)
    return AppFiles(folder, packages / "bin" / "python", packages)


@contextlib.contextmanager
def _made_once(folder: Path) -> Iterator[Path | None]:
    """Yields the folder to fill, empty, or None where it is whole; others that want the same one wait."""
    whole = folder / ".whole"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if whole.is_file():
            os.utime(whole)
            yield None
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        yield folder
        whole.touch()


def _unpack(packed: bytes, folder: Path) -> None:
    plain = lzma.LZMADecompressor(memlimit=256 * 1024**2).decompress(packed, MAX_BYTES + 1)
    if len(plain) > MAX_BYTES:
        raise InstallError(f"the app has more than {MAX_BYTES >> 20} MiB")
    (folder / SOURCE).mkdir()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        tar.extractall(folder, filter="data")


def _install(name: str, requirements: Path, folder: Path, timeout_s: float) -> None:
    """Makes a virtual environment of this Python's, without its packages, and has pip install into it."""
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
        with contextlib.suppress(OSError):  # another replica may do the same
            if time.time() - whole.stat().st_mtime > UNUSED_S:
                shutil.rmtree(whole.parent)
