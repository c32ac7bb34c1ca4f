"""The content of uploaded files: <root>/<tenant>/<id>, written to a temporary name and then renamed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from serving.security.principal import Principal
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.ids import new_id, now
from serving.store.uninterrupted import finish
from serving.store.worker import Handler, JobContext

CHUNK = 1 << 20
_TEMPORARY = ".tmp-"
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@-]{0,127}", re.ASCII)


class Readable(Protocol):
    """A synchronous binary file, for example an upload's spooled file."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Blob:
    """What was written: `bytes` is the size, `sha256` hexadecimal."""

    bytes: int
    sha256: str


class Blobs:
    """File contents under the folder `root`. Disk work runs in threads; disk trouble is `StoreUnavailable`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def write(
        self,
        principal: Principal,
        id: str,
        source: AsyncIterator[bytes] | Readable,
        *,
        max_bytes: int,
        param: str = "file",
    ) -> Blob:
        """Writes `source` and returns its size and hash once it is on disk, whole, under its name.

        Raises `InvalidValue(param, …)` beyond `max_bytes`. Whatever fails, nothing is left behind.
        """
        target = self._path(principal.tenant, id)
        temporary = target.with_name(f"{_TEMPORARY}{new_id('blob')}")
        digest, size = hashlib.sha256(), 0
        # Each step is carried to its end: a file closed under a thread that writes to it would hand that thread's
        # bytes to whoever gets the descriptor next.
        try:
            with await finish(asyncio.to_thread(_create, temporary)) as file:
                async for chunk in _chunks(source):
                    size += len(chunk)
                    if size > max_bytes:
                        raise InvalidValue(param, f"must have at most {max_bytes} bytes")
                    await finish(asyncio.to_thread(_append, file, chunk, digest))
                await finish(asyncio.to_thread(_publish, file, temporary, target))
        except BaseException:
            await finish(asyncio.to_thread(_discard, temporary))
            raise
        return Blob(size, digest.hexdigest())

    async def read(self, principal: Principal, id: str) -> bytes:
        """Returns the whole content or raises `NotFound`."""
        return await asyncio.to_thread(_read, self._path(principal.tenant, id), id)

    async def open(self, principal: Principal, id: str) -> AsyncIterator[bytes]:
        """Returns the content in chunks of 1 MiB; `NotFound` is raised here, before the first chunk.

        A deletion meanwhile does not cut the content off.
        """
        return _stream(await asyncio.to_thread(_open, self._path(principal.tenant, id), id))

    async def delete(self, principal: Principal, id: str) -> None:
        """Removes the content; one that is gone already is no error."""
        await asyncio.to_thread(_delete, self._path(principal.tenant, id))

    async def sweep(
        self, existing: Callable[[str, Sequence[str]], Awaitable[set[str]]], *, older_than_s: float = 86_400
    ) -> int:
        """Removes what crashes left: temporary files, and contents without a row (`Files.existing`).

        Only files older than `older_than_s`, which must exceed the longest upload. Returns how many.
        """
        removed = 0
        for tenant, names in (await asyncio.to_thread(self._old, now() - older_than_s)).items():
            temporary = {name for name in names if name.startswith(_TEMPORARY)}
            stored = sorted(set(names) - temporary)
            orphans = set(stored) - (await existing(tenant, stored) if stored else set())
            for name in temporary | orphans:
                await asyncio.to_thread(_delete, self._root / tenant / name)
                removed += 1
        return removed

    def _old(self, before: float) -> dict[str, list[str]]:
        with _explained(self._root):
            if not self._root.is_dir():
                return {}
            return {
                folder.name: [f.name for f in folder.iterdir() if _modified(f) < before]
                for folder in self._root.iterdir()
                if folder.is_dir()
            }

    def _path(self, tenant: str, id: str) -> Path:
        """Names come from verified principals and from `new_id`; anything that could climb is refused."""
        for param, part in (("tenant", tenant), ("id", id)):
            if not _SAFE.fullmatch(part):
                raise InvalidValue(param, "must have 1 to 128 letters, digits and ._@- and no leading dot")
        return self._root / tenant / id


async def _chunks(source: AsyncIterator[bytes] | Readable) -> AsyncIterator[bytes]:
    if isinstance(source, AsyncIterator):
        async for chunk in source:
            yield chunk
        return
    while chunk := await asyncio.to_thread(source.read, CHUNK):
        yield chunk


async def _stream(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while chunk := await asyncio.to_thread(file.read, CHUNK):
            yield chunk
    finally:
        file.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise StoreUnavailable(f"{path}: {e.strerror or e}") from e


def _create(temporary: Path) -> BinaryIO:
    with _explained(temporary):
        temporary.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return temporary.open("xb", buffering=0)


def _append(file: BinaryIO, chunk: bytes, digest: hashlib._Hash) -> None:
    view = memoryview(chunk)
    with _explained(Path(file.name)):
        while view:
            view = view[file.write(view) :]
    digest.update(chunk)


def _publish(file: BinaryIO, temporary: Path, target: Path) -> None:
    with _explained(target):
        os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)


def _discard(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path, id: str) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound("file", id) from None
    except OSError as e:
        raise StoreUnavailable(f"{path}: {e.strerror or e}") from e


def _read(path: Path, id: str) -> bytes:
    with _open(path, id) as file, _explained(path):
        return file.read()


def _delete(path: Path) -> None:
    with _explained(path):
        path.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # renamed or deleted meanwhile
        return float("inf")


def blob_deletion(blobs: Blobs) -> Handler:
    """Returns the handler of `DELETE_BLOB` jobs."""

    async def delete(context: JobContext) -> None:
        await blobs.delete(context.principal, context.job.payload["file_id"])

    return delete
