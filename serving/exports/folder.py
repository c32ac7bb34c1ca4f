"""The folder of an export, which appears under its name whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from serving.store.errors import StoreError
from serving.store.ids import new_id


class Occupied(StoreError):
    """The folder that an export would be written to holds something."""


@dataclass(slots=True)
class Lines:
    """A file that is written line by line, and what is known of it."""

    file: BinaryIO
    rows: int = 0
    size: int = 0
    digest: Any = field(default_factory=hashlib.sha256)

    def add(self, line: bytes) -> None:
        self.file.write(line)
        self.digest.update(line)
        self.rows += 1
        self.size += len(line)


class Folder:
    """Files beside `target`, which `publish` makes `target`; what is not published goes when the block ends.

    Nobody but its owner can look into it.

    Raises `Occupied` when the target is there and is no empty folder, and `OSError` when it cannot be written.
    """

    def __init__(self, target: Path) -> None:
        self._target = target.absolute()
        if self._target.is_symlink() or (self._target.exists() and not self._empty()):
            raise Occupied(f"{target} is there and is no empty folder: name another one")
        self._temporary = self._target.with_name(f".{self._target.name}.{new_id('part')}")
        self._open = ExitStack()
        self.files: dict[str, Lines] = {}

    def __enter__(self) -> Self:
        self._temporary.mkdir(mode=0o700, parents=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # a full disk fails again here
            self._open.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def add(self, name: str, line: bytes) -> None:
        """Appends a line to the file `name`, which begins with its first line."""
        if name not in self.files:
            self.files[name] = Lines(self._open.enter_context((self._temporary / name).open("xb")))
        self.files[name].add(line)

    def publish(self, manifest: str, content: bytes) -> None:
        """Adds the last file, makes all of it durable and gives the folder its name."""
        self.add(manifest, content)
        for lines in self.files.values():
            lines.file.flush()
            os.fsync(lines.file.fileno())
        self._open.close()
        _sync(self._temporary)
        try:
            self._temporary.rename(self._target)
        except OSError as e:
            if self._target.exists():
                raise Occupied(f"{self._target} is there and is no empty folder any more") from e
            raise
        _sync(self._target.parent)

    def _empty(self) -> bool:
        return self._target.is_dir() and not any(self._target.iterdir())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
