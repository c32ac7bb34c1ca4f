"""Which exports were written where, and whom they hold: so that a user who is forgotten is taken out of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from serving.exports.forgetting import people, person
from serving.exports.manifest import Manifest
from serving.store.database import Database
from serving.store.ids import new_id, now
from serving.store.models import exports
from serving.store.rows import build
from serving.store.uninterrupted import uninterrupted


@dataclass(frozen=True, slots=True)
class Registered:
    """An export: its folder on the host that wrote it, and whose rows it holds, hashed with its salt."""

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
    async def add(self, folder: Path, manifest: Manifest) -> None:
        """Registers an export that was written."""
        row = {
            "id": new_id("export"),
            "tenant": manifest.filters.tenant,
            "folder": str(folder.absolute()),
            "salt": manifest.people_salt,
            "people": sorted(people(folder, manifest)),
            "created_at": now(),
        }
        async with self._database.write() as connection:
            await connection.execute(exports.insert().values(row))

    @uninterrupted
    async def holding(self, tenant: str, user: str) -> list[Registered]:
        """Returns the exports that hold a user."""
        query = select(exports).where(exports.c.tenant == tenant).order_by(exports.c.created_at, exports.c.id)
        async with self._database.read() as connection:
            found = [build(Registered, row) for row in (await connection.execute(query)).mappings()]
        return [one for one in found if one.holds(user)]

    @uninterrupted
    async def forgotten(self, one: Registered, user: str) -> None:
        """Notes that an export does not hold a user any more."""
        this = exports.c.id == one.id
        async with self._database.write() as connection:
            now_held = (await connection.execute(select(exports.c.people).where(this).with_for_update())).scalar()
            left = [held for held in now_held or () if held != person(one.salt, one.tenant, user)]
            await connection.execute(exports.update().where(this).values(people=left))
