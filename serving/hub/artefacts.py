"""The files of versions and data sets, in the storage place's folder of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from serving.core.uninterrupted import finish
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.objects.contents import Contents
from serving.store.objects.places import Place

MAX_BYTES = 1 << 40
"""Maximum size of one file: more than any disk of a replica should get at once."""

MOST = 64
"""Maximum number of files of one version or data set."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """A stored file: `bytes` is its size, `sha256` hexadecimal."""

    name: str
    bytes: int
    sha256: str

    @property
    def document(self) -> dict[str, Any]:
        return asdict(self)


def artefacts_of(documents: Iterable[Mapping[str, Any]]) -> tuple[Artefact, ...]:
    """Returns the artefacts in a row."""
    return tuple(Artefact(each["name"], each["bytes"], each["sha256"]) for each in documents)


def with_artefact(documents: Sequence[dict[str, Any]], artefact: Artefact) -> list[dict[str, Any]]:
    """Returns the artefacts of a row with another one, which replaces one of its name."""
    kept = [each for each in documents if each["name"] != artefact.name]
    if len(kept) == MOST:
        raise InvalidValue("artefacts", f"must have at most {MOST} members")
    return [*kept, artefact.document]


class Artefacts:
    """The files of all versions and data sets, by their ids and names."""

    def __init__(self, place: Place) -> None:
        self._contents = Contents(place, "artefact", folders="id")

    async def write(self, id: str, name: str, file: Path) -> Artefact:
        """Copies a file of this host, and returns once the copy is durable. A file of the same name is replaced."""
        source = await asyncio.to_thread(file.open, "rb")
        try:
            blob = await self._contents.write(id, name, source, max_bytes=MAX_BYTES, param="file")
        finally:
            await finish(asyncio.to_thread(source.close))
        return Artefact(name, blob.bytes, blob.sha256)

    async def open(self, id: str, name: str) -> AsyncIterator[bytes]:
        """Returns the content of a file in chunks; raises `NotFound`."""
        return await self._contents.open(id, name)

    async def verify(self, id: str, artefacts: Iterable[Artefact]) -> None:
        """Reads files again; raises `Conflict` for one that is missing, or is not what was written."""
        for each in artefacts:
            try:
                found = await self._contents.digest(id, each.name)
            except NotFound:
                raise Conflict(f"the artefact {each.name} is missing: add it again") from None
            if (found.bytes, found.sha256) != (each.bytes, each.sha256):
                raise Conflict(f"the artefact {each.name} is damaged: add it again")

    async def remove(self, id: str, name: str) -> None:
        """Removes one file; does nothing if it does not exist."""
        await self._contents.delete(id, name)

    async def delete(self, id: str) -> None:
        """Removes all files of a version or data set; does nothing if there are none."""
        await self._contents.delete_all(id)

    async def written_before(self, at: float) -> set[str]:
        """Returns the ids that have files, all of which were written before that unix time."""
        return await asyncio.to_thread(self._written_before, at)

    def _written_before(self, at: float) -> set[str]:
        old: set[str] = set()
        new: set[str] = set()
        for id, _, written in self._contents.names():
            (old if written < at else new).add(id)
        return old - new
