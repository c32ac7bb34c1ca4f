"""The cache: folders that are installed all or nothing, with the checksum of each file, and locks between processes.

Checksums are verified at each use: `installed_files` never returns a file that has changed since its installation.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.report import say

MANIFEST = "manifest.json"


class DamagedFileError(Exception):
    """A cached file is missing or differs from what was installed; the text names it."""


def root() -> Path:
    """Returns the cache's folder: HEADRACE_CACHE, else ~/.cache/headrace."""
    configured = os.environ.get("HEADRACE_CACHE")
    return Path(configured).resolve() if configured else Path.home() / ".cache" / "headrace"


def sha256(file: Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Holds the cache's lock of that name; prints a line when it has to wait for another process.

    Children started with `close_fds=False` hold the lock too: if this process is killed, others wait for its children.
    """
    root().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root() / f"{name}.lock").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another process is obtaining it, waiting")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def installed_files(folder: Path, names: Iterable[str]) -> dict[str, Path] | None:
    """Returns the named files of an installed folder after verifying them; None if the folder does not exist.

    Raises:
        DamagedFileError: a file is missing, or its checksum differs from the one recorded at its installation.
    """
    if not folder.exists():
        return None
    try:
        recorded = json.loads((folder / MANIFEST).read_text())
        files = {name: folder / name for name in names}
        for name, file in files.items():
            if sha256(file) != recorded[name]:
                raise DamagedFileError(f"{name} has changed since it was installed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{type(error).__name__}: {error}") from error
    return files


def install(folder: Path, names: Iterable[str], make: Callable[[Path], None]) -> dict[str, Path]:
    """Installs a folder, all or nothing: `make` writes the named files into an empty one, which is then renamed.

    The caller holds `lock`. A damaged folder of the same name is replaced, and leftovers of killed runs are removed.
    """
    with scratch(folder.name, folder.parent) as work:
        make(work)
        for name in names:
            (work / name).chmod(0o755)
        (work / MANIFEST).write_text(json.dumps({name: sha256(work / name) for name in names}, indent=2) + "\n")
        work.chmod(0o755)
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
    return {name: folder / name for name in names}


@contextmanager
def scratch(name: str, folder: Path | None = None) -> Iterator[Path]:
    """Yields an empty folder `.NAME-*` beside what is cached, and removes it at the end.

    The caller holds the lock of what it makes, so that whatever killed runs left under the name is nobody's.
    """
    folder = folder or root()
    for leftover in folder.glob(f".{name}-*"):
        remove(leftover)
    work = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder))
    try:
        yield work
    finally:
        remove(work)


def remove(path: Path) -> None:
    """Removes a file or a folder, or nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def link(files: dict[str, Path]) -> Path:
    """Returns a folder for PATH that holds a link to each file and nothing else.

    Its name is a digest of the links, so that its content never changes under a process that uses it.
    """
    listing = "".join(f"{name}={file}\n" for name, file in sorted(files.items()))
    folder = root() / "bin" / hashlib.sha256(listing.encode()).hexdigest()[:12]
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, file in files.items():
        if not (folder / name).is_symlink():
            fresh = folder / f".{name}.{os.getpid()}"
            fresh.symlink_to(file)
            fresh.replace(folder / name)
    return folder
