"""Contents in a storage place, each in a folder under a name. They appear completely or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from serving.core.uninterrupted import finish
from serving.store.errors import InvalidValue, NotFound, StoreUnavailable
from serving.store.objects.places import Place, WritableContent

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


class Contents:
    """Contents in a storage place. Operations run in threads; failures are `StoreUnavailable`.

    `kind` is what a missing content is called, and `folders` the parameter that an invalid folder is reported for.
    """

    def __init__(self, place: Place, kind: str, *, folders: str) -> None:
        self._place = place
        self._kind = kind
        self._folders = folders

    async def write(
        self, folder: str, id: str, source: AsyncIterator[bytes] | Readable, *, max_bytes: int, param: str
    ) -> Blob:
        """Writes `source` and returns its size and hash once it is durable and complete under its name.

        Raises `InvalidValue(param, …)` beyond `max_bytes`. Any failure leaves nothing behind.
        """
        name = self._name(folder, id)
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

    async def read(self, folder: str, id: str) -> bytes:
        """Returns the whole content or raises `NotFound`."""
        return await asyncio.to_thread(self._read, self._name(folder, id), id)

    async def open(self, folder: str, id: str) -> AsyncIterator[bytes]:
        """Returns the content in chunks of 1 MiB; `NotFound` is raised here, before the first chunk.

        In a folder, a concurrent deletion does not truncate the content.
        """
        return _stream(await asyncio.to_thread(self._open, self._name(folder, id), id))

    async def digest(self, folder: str, id: str) -> Blob:
        """Reads the whole content and returns its size and hash; raises `NotFound`."""
        digest, size = hashlib.sha256(), 0
        async for chunk in await self.open(folder, id):
            await asyncio.to_thread(digest.update, chunk)
            size += len(chunk)
        return Blob(size, digest.hexdigest())

    async def delete(self, folder: str, id: str) -> None:
        """Removes the content; does nothing if it does not exist."""
        await asyncio.to_thread(self._place.delete, self._name(folder, id))

    async def delete_all(self, folder: str) -> None:
        """Removes all contents of a folder, and what interrupted writes left there."""
        self._name(folder, "all")
        await asyncio.to_thread(self._delete_all, folder)

    async def discard(self, folder: str, id: str) -> None:
        """Removes a content by a name of `names`, which may be a temporary one."""
        await asyncio.to_thread(self._place.delete, f"{folder}/{id}")

    def names(self) -> Iterator[tuple[str, str, float]]:
        """Yields folder, id and unix time of writing of every content, temporary ones too. It blocks."""
        for name, written in self._place.names():
            folder, _, id = name.partition("/")
            if id:
                yield folder, id, written

    def _delete_all(self, folder: str) -> None:
        for name, _ in self._place.names(folder):
            self._place.delete(name)

    def _name(self, folder: str, id: str) -> str:
        """Returns the name of a content; parts that could leave the place are rejected."""
        for param, part in ((self._folders, folder), ("id", id)):
            if not _SAFE.fullmatch(part):
                raise InvalidValue(param, "must have 1 to 128 letters, digits and ._@- and no leading dot")
        return f"{folder}/{id}"

    def _open(self, name: str, id: str) -> BinaryIO:
        try:
            return self._place.open(name)
        except FileNotFoundError:
            raise NotFound(self._kind, id) from None

    def _read(self, name: str, id: str) -> bytes:
        with self._open(name, id) as file:
            return _part(file)


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
