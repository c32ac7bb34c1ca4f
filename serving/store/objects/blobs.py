"""The contents of uploaded files, by tenant and id, in a folder or a bucket. They appear completely or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import finish
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.jobs.worker import Handler, JobContext
from serving.store.objects.places import TEMPORARY, Place, WritableContent

CHUNK = 1 << 20
_SAFE = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._@-]{0,127}", re.ASCII)


class Readable(Protocol):
    """A synchronous binary file, for example an upload's spooled file."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Blob:
    """A written content: `bytes` is the size, `sha256` hexadecimal."""

    bytes: int
    sha256: str


class Blobs:
    """File contents in a storage place. Operations run in threads; failures are `StoreUnavailable`."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def write(
        self,
        principal: Principal,
        id: str,
        source: AsyncIterator[bytes] | Readable,
        *,
        max_bytes: int,
        param: str = "file",
    ) -> Blob:
        """Writes `source` and returns its size and hash once it is durable and complete under its name.

        Raises `InvalidValue(param, …)` beyond `max_bytes`. Any failure leaves nothing behind.
        """
        name = _name(principal.tenant, id)
        digest, size = hashlib.sha256(), 0
        # Each step runs to its end: if a file were closed while a thread writes to it, the thread's bytes could go to
        # whoever gets the descriptor next.
        writing = await finish(asyncio.to_thread(self._place.create, name))
        try:
            async for chunk in _chunks(source):
                size += len(chunk)
                if size > max_bytes:
                    raise InvalidValue(param, f"must have at most {max_bytes} bytes")
                await finish(asyncio.to_thread(_append, writing, chunk, digest))
            await finish(asyncio.to_thread(writing.publish))
        finally:
            await finish(asyncio.to_thread(writing.discard))
        return Blob(size, digest.hexdigest())

    async def read(self, principal: Principal, id: str) -> bytes:
        """Returns the whole content or raises `NotFound`."""
        return await asyncio.to_thread(self._read_part, _name(principal.tenant, id), id)

    async def open(self, principal: Principal, id: str) -> AsyncIterator[bytes]:
        """Returns the content in chunks of 1 MiB; `NotFound` is raised here, before the first chunk.

        In a folder, a concurrent deletion does not truncate the content.
        """
        return _stream(await asyncio.to_thread(self._open, _name(principal.tenant, id), id))

    async def delete(self, principal: Principal, id: str) -> None:
        """Removes the content; does nothing if it does not exist."""
        await asyncio.to_thread(self._place.delete, _name(principal.tenant, id))

    async def sweep(
        self, existing: Callable[[str, Sequence[str]], Awaitable[set[str]]], *, older_than_s: float = 86_400
    ) -> int:
        """Removes leftovers of crashes: temporary files, and contents without a row (`Files.existing`).

        Only files older than `older_than_s`, which must exceed the longest upload. Returns their number.
        """
        removed = 0
        for tenant, names in (await asyncio.to_thread(self._old, now() - older_than_s)).items():
            temporary = {name for name in names if name.startswith(TEMPORARY)}
            stored = sorted(set(names) - temporary)
            orphans = set(stored) - (await existing(tenant, stored) if stored else set())
            for name in temporary | orphans:
                await asyncio.to_thread(self._place.delete, f"{tenant}/{name}")
                removed += 1
        return removed

    def _old(self, before: float) -> dict[str, list[str]]:
        found: defaultdict[str, list[str]] = defaultdict(list)
        for name, written in self._place.names():
            tenant, _, id = name.partition("/")
            if id and written < before:
                found[tenant].append(id)
        return found

    def _open(self, name: str, id: str) -> BinaryIO:
        try:
            return self._place.open(name)
        except FileNotFoundError:
            raise NotFound("file", id) from None

    def _read_part(self, name: str, id: str) -> bytes:
        with self._open(name, id) as file:
            return _part(file)


def _name(tenant: str, id: str) -> str:
    """Returns the name of a content. Tenants and ids are from verified principals and `new_id`; names that could leave
    the folder are rejected.
    """
    for param, part in (("tenant", tenant), ("id", id)):
        if not _SAFE.fullmatch(part):
            raise InvalidValue(param, "must have 1 to 128 letters, digits and ._@- and no leading dot")
    return f"{tenant}/{id}"


async def _chunks(source: AsyncIterator[bytes] | Readable) -> AsyncIterator[bytes]:
    if isinstance(source, AsyncIterator):
        async for chunk in source:
            yield chunk
        return
    while chunk := await asyncio.to_thread(source.read, CHUNK):
        yield chunk


async def _stream(file: BinaryIO) -> AsyncIterator[bytes]:
    try:
        while chunk := await asyncio.to_thread(_part, file, CHUNK):
            yield chunk
    finally:
        file.close()


def _part(file: BinaryIO, size: int | None = None) -> bytes:
    try:
        return file.read() if size is None else file.read(size)
    except OSError as e:
        raise StoreUnavailable(f"a file's content cannot be read: {e.strerror or e}") from e


def _append(writing: WritableContent, chunk: bytes, digest: hashlib._Hash) -> None:
    writing.append(chunk)
    digest.update(chunk)


def blob_deletion(blobs: Blobs) -> Handler:
    """Returns the handler of `DELETE_BLOB` jobs."""

    async def delete(context: JobContext) -> None:
        await blobs.delete(context.principal, context.job.payload["file_id"])

    return delete
