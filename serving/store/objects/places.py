"""Storage places for contents by name: the interface, and the one for folders."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from serving.core.ids import new_id
from serving.store.errors import StoreUnavailable

TEMPORARY = ".tmp-"
"""Prefix of the last part of a temporary name."""


class WritableContent(Protocol):
    """A content being written: it is invisible under its name until it is published completely."""

    def append(self, chunk: bytes) -> None: ...

    def publish(self) -> None:
        """Returns once the content is durable under its name, replacing an existing one."""

    def discard(self) -> None:
        """Leaves nothing behind; never raises, not even after `publish`."""


class Place(Protocol):
    """Contents by name; a name is parts joined by `/`, which callers have validated.

    Every method blocks, and raises `StoreUnavailable` for failures of the place itself.
    """

    def create(self, name: str) -> WritableContent: ...

    def open(self, name: str) -> BinaryIO:
        """Raises `FileNotFoundError` when there is no such content."""

    def delete(self, name: str) -> None:
        """Removes a content; does nothing if it does not exist."""

    def names(self, below: str = "") -> Iterator[tuple[str, float]]:
        """Yields every name (temporary ones too) below the parts `below`, with its unix time of writing."""


class Folder:
    """A place in a folder, which is created with its first content."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __repr__(self) -> str:
        return str(self._root)

    def create(self, name: str) -> WritableContent:
        return _LocalContent(self._root / name)

    def open(self, name: str) -> BinaryIO:
        path = self._root / name
        with _explained(path):
            return path.open("rb")

    def delete(self, name: str) -> None:
        path = self._root / name
        with _explained(path), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()

    def names(self, below: str = "") -> Iterator[tuple[str, float]]:
        start = self._root / below
        with _explained(start):
            if start.is_dir():
                yield from self._walk(start)

    def _walk(self, folder: Path) -> Iterator[tuple[str, float]]:
        for path in sorted(folder.iterdir()):
            with suppress(FileNotFoundError, NotADirectoryError):  # renamed or deleted meanwhile
                if path.is_dir():
                    yield from self._walk(path)
                else:
                    yield path.relative_to(self._root).as_posix(), path.stat().st_mtime


class _LocalContent:
    """Written to a temporary name beside the target, and then renamed."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._temporary = target.with_name(f"{TEMPORARY}{new_id('blob')}")
        with _explained(self._temporary):
            self._temporary.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._temporary.open("xb", buffering=0)

    def append(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        with _explained(self._temporary):
            while view:
                view = view[self._file.write(view) :]

    def publish(self) -> None:
        with _explained(self._target):
            os.fsync(self._file.fileno())
            self._file.close()
            self._temporary.replace(self._target)
            _sync_folder(self._target.parent)

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as e:
        raise StoreUnavailable(f"{path}: {e.strerror or e}") from e
