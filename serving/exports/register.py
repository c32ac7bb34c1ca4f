"""The register of exports, with their location and users, so that erased users are removed from them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, and_, select

from serving.core.ids import now
from serving.core.uninterrupted import finish, uninterrupted
from serving.exports.folder import ExportFolder, abandoned
from serving.exports.forgetting import people, person
from serving.exports.manifest import MANIFEST, ExportManifest
from serving.store.errors import NotFound, StoreError
from serving.store.relational.database import Database
from serving.store.relational.rows import build
from serving.store.relational.tables import exports

T = TypeVar("T")

_UNFINISHED = exports.c.salt == ""


class Elsewhere(StoreError):
    """The export is on another host."""


@dataclass(frozen=True, slots=True)
class Registered:
    """An export: its folder on the host that wrote it, and the users of its rows, hashed with its salt.

    While it is written it has no salt, and its users are unknown.
    """

    id: str
    tenant: str
    folder: str
    salt: str
    people: list[str]
    created_at: float

    def holds(self, user: str) -> bool:
        return person(self.salt, self.tenant, user) in self.people


class Register:
    """The exports of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def begin(self, folder: ExportFolder, tenant: str) -> None:
        """Registers an export before anything is written."""
        row = {"id": folder.id, "tenant": tenant, "folder": str(folder.target), "salt": "", "people": []}
        async with self._database.write() as connection:
            await connection.execute(exports.insert().values(row | {"created_at": now()}))

    @uninterrupted
    async def finish(self, id: str, salt: str, people: Collection[str]) -> None:
        """Records the users of a finished export. Raises `NotFound` for one that was abandoned."""
        held = {"salt": salt, "people": sorted(people)}
        async with self._database.write() as connection:
            found = await connection.execute(exports.update().where(exports.c.id == id, _UNFINISHED).values(held))
            if found.rowcount != 1:
                raise NotFound("export", id)

    @uninterrupted
    async def drop(self, id: str) -> None:
        """Removes an export whose files are gone."""
        async with self._database.write() as connection:
            await connection.execute(exports.delete().where(exports.c.id == id))

    async def holding(self, tenant: str, user: str) -> list[Registered]:
        """Returns the exports with data of a user, except those in progress."""
        return [one for one in await self._select(exports.c.tenant == tenant) if one.salt and one.holds(user)]

    async def unfinished(self, tenant: str) -> list[Registered]:
        """Returns the exports in progress, and those whose writer died."""
        return await self._select(and_(exports.c.tenant == tenant, _UNFINISHED))

    async def take_over(self, one: Registered, *, here: bool) -> None:
        """Finishes an export whose writer died: it was published, or its files are removed.

        `here` tells that it can only be on this host. Raises `Elsewhere`, and `BeingWritten` while its writer runs.
        """
        folder = Path(one.folder)
        async with _in_threads(abandoned(folder, one.id)) as found:
            if not await self._select(and_(exports.c.id == one.id, _UNFINISHED)):
                return  # its writer was faster
            if not (found or here):
                raise Elsewhere(f"the export {folder} is being written, or its writer died, on another host")
            if (manifest := await asyncio.to_thread(_manifest, folder)) is None:
                await self.drop(one.id)
            else:
                held = await asyncio.to_thread(people, folder, manifest)
                await self.finish(one.id, str(manifest.people_salt), held)

    @uninterrupted
    async def _select(self, where: ColumnElement[bool]) -> list[Registered]:
        query = select(exports).where(where).order_by(exports.c.created_at, exports.c.id)
        async with self._database.read() as connection:
            return [build(Registered, row) for row in (await connection.execute(query)).mappings()]

    @uninterrupted
    async def forgotten(self, one: Registered, user: str) -> None:
        """Records that an export no longer has data of a user."""
        this = exports.c.id == one.id
        async with self._database.write() as connection:
            now_held = (await connection.execute(select(exports.c.people).where(this).with_for_update())).scalar()
            left = [held for held in now_held or () if held != person(one.salt, one.tenant, user)]
            await connection.execute(exports.update().where(this).values(people=left))


@asynccontextmanager
async def _in_threads(block: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enters and exits a context manager in threads: it may lock and remove files for long, which must not block the
    loop.
    """
    value = await asyncio.to_thread(block.__enter__)
    try:
        yield value
    except BaseException as e:
        await finish(asyncio.to_thread(block.__exit__, type(e), e, e.__traceback__))
        raise
    await finish(asyncio.to_thread(block.__exit__, None, None, None))


def _manifest(folder: Path) -> ExportManifest | None:
    """Returns the manifest of a folder that is an export and records the users of its rows."""
    try:
        manifest = ExportManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if manifest.people_salt is not None else None
