"""Which exports were written where, and whom they hold: so that a user who is forgotten is taken out of them."""

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
    """An export: its folder on the host that wrote it, and whose rows it holds, hashed with its salt.

    While it is written it has no salt, and nobody knows whom it holds.
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
        """Registers an export of which nothing is written yet."""
        row = {"id": folder.id, "tenant": tenant, "folder": str(folder.target), "salt": "", "people": []}
        async with self._database.write() as connection:
            await connection.execute(exports.insert().values(row | {"created_at": now()}))

    @uninterrupted
    async def finish(self, id: str, salt: str, people: Collection[str]) -> None:
        """Says whom an export holds that was written. Raises `NotFound` for one that was given up."""
        held = {"salt": salt, "people": sorted(people)}
        async with self._database.write() as connection:
            found = await connection.execute(exports.update().where(exports.c.id == id, _UNFINISHED).values(held))
            if found.rowcount != 1:
                raise NotFound("export", id)

    @uninterrupted
    async def drop(self, id: str) -> None:
        """Forgets an export of which nothing is left."""
        async with self._database.write() as connection:
            await connection.execute(exports.delete().where(exports.c.id == id))

    async def holding(self, tenant: str, user: str) -> list[Registered]:
        """Returns the exports that hold a user; those that are being written are not among them."""
        return [one for one in await self._select(exports.c.tenant == tenant) if one.salt and one.holds(user)]

    async def unfinished(self, tenant: str) -> list[Registered]:
        """Returns the exports that are being written, or whose writer died."""
        return await self._select(and_(exports.c.tenant == tenant, _UNFINISHED))

    async def take_over(self, one: Registered, *, here: bool) -> None:
        """Finishes an export whose writer died: it was published, or what there is of it is removed.

        `here` says that it can only be on this host. Raises `Elsewhere`, and `BeingWritten` while its writer lives.
        """
        folder = Path(one.folder)
        async with _in_threads(abandoned(folder, one.id)) as found:
            if not await self._select(and_(exports.c.id == one.id, _UNFINISHED)):
                return  # its writer was quicker
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
        """Notes that an export does not hold a user any more."""
        this = exports.c.id == one.id
        async with self._database.write() as connection:
            now_held = (await connection.execute(select(exports.c.people).where(this).with_for_update())).scalar()
            left = [held for held in now_held or () if held != person(one.salt, one.tenant, user)]
            await connection.execute(exports.update().where(this).values(people=left))


@asynccontextmanager
async def _in_threads(block: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Begins and ends a block in threads: it may lock and remove files for long, and the loop has others to serve."""
    value = await asyncio.to_thread(block.__enter__)
    try:
        yield value
    except BaseException as e:
        await finish(asyncio.to_thread(block.__exit__, type(e), e, e.__traceback__))
        raise
    await finish(asyncio.to_thread(block.__exit__, None, None, None))


def _manifest(folder: Path) -> ExportManifest | None:
    """Returns the manifest of a folder that is an export and says whose its rows are."""
    try:
        manifest = ExportManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    return manifest if manifest.people_salt is not None else None
