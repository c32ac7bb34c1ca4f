"""The folder of an export, which appears under its name completely or not at all.

While it is written, a file beside it is locked: a process that gets the lock knows that the writer has ended.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from serving.core.ids import new_id
from serving.store.errors import StoreError


class Occupied(StoreError):
    """The target folder of an export is not empty."""


class BeingWritten(StoreError):
    """The export's writer is still running."""


@dataclass(slots=True)
class Lines:
    """A file written line by line, with its digest and counts."""

    file: BinaryIO
    rows: int = 0
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, line: bytes) -> None:
        self.file.write(line)
        self.digest.update(line)
        self.rows += 1
        self.size += len(line)


class ExportFolder:
    """Files in a folder beside `target`, which `publish` renames to `target`; if the block fails, nothing remains.

    Only its owner can read it. `id` distinguishes it from other exports to the same target. While it is `marked`, the
    locked file remains after the block, as after a writer that was killed. Raises `Occupied` when the target exists and
    is not empty, and `OSError` when it cannot be written.
    """

    def __init__(self, target: Path) -> None:
        self.target = target.absolute()
        if self.target.is_symlink() or (self.target.exists() and not self._empty()):
            raise Occupied(f"{target} exists and is not an empty folder: name another one")
        self.id = new_id("export")
        self._temporary, self._lock_file = _partial_paths(self.target, self.id)
        self._published = False
        self.marked = False
        self._open = ExitStack()
        self._locked = ExitStack()
        self.files: dict[str, Lines] = {}

    def __enter__(self) -> Self:
        self._temporary.mkdir(mode=0o700, parents=True)
        try:
            self._lock_file.touch(mode=0o600, exist_ok=False)
            self._locked.enter_context(_locked(self._lock_file))
        except BaseException:
            self._clear()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk fails again here
            self._open.close()
        if kind is not None:
            self.discard()
        self._clear()

    def discard(self) -> None:
        """Removes what was written, but keeps the lock until the block ends, so that no process looks for the export
        elsewhere.
        """
        shutil.rmtree(self._temporary, ignore_errors=True)
        if self._published:
            shutil.rmtree(self.target, ignore_errors=True)

    def add(self, name: str, line: bytes) -> None:
        """Appends a line to the file `name`, creating it for the first line."""
        if name not in self.files:
            self.files[name] = Lines(self._open.enter_context((self._temporary / name).open("xb")))
        self.files[name].add(line)

    def publish(self, manifest: str, content: bytes) -> None:
        """Adds the last file, makes all files durable and renames the folder."""
        self.add(manifest, content)
        for lines in self.files.values():
            lines.file.flush()
            os.fsync(lines.file.fileno())
        self._open.close()
        _sync(self._temporary)
        try:
            self._temporary.rename(self.target)
        except OSError as e:
            if self.target.exists():
                raise Occupied(f"{self.target} exists and is no longer an empty folder") from e
            raise
        self._published = True
        _sync(self.target.parent)

    def _empty(self) -> bool:
        return self.target.is_dir() and not any(self.target.iterdir())

    def _clear(self) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        if not self.marked:  # while it is locked: the next process that locks it finds that all is done
            self._lock_file.unlink(missing_ok=True)
        self._locked.close()


@contextmanager
def abandoned(target: Path, id: str) -> Iterator[bool]:
    """Locks an export whose writer died, and removes its unpublished files when the block ends.

    Yields whether any of it is on this host. Raises `BeingWritten` when the writer is still running.
    """
    temporary, lock_file = _partial_paths(target, id)
    with ExitStack() as stack:
        here = True
        try:
            stack.enter_context(_locked(lock_file))
        except BlockingIOError:
            raise BeingWritten(f"the export {target} is being written: wait for its end, or stop its writer") from None
        except FileNotFoundError:  # it is created first and removed last
            here = temporary.exists()
        yield here
        with suppress(FileNotFoundError):
            shutil.rmtree(temporary)
        lock_file.unlink(missing_ok=True)


def _partial_paths(target: Path, id: str) -> tuple[Path, Path]:
    """Returns the path of an unpublished export, and of its locked file."""
    return target.with_name(f".{target.name}.{id}"), target.with_name(f".{target.name}.{id}.lock")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
