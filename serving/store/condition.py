"""How the state of a stack is: work that waits, how old its indexes are, and its newest backup."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select

from serving.store.database import Database
from serving.store.ids import now
from serving.store.models import UNFINISHED, jobs, meta, vector_store_files, vector_stores
from serving.store.uninterrupted import uninterrupted

BACKED_UP = "backed_up"
"""The row of `meta` that says when the newest backup was whole, in unix seconds."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs of one kind that could run and do not, and for how many seconds the first of them has waited."""

    number: int
    oldest_s: float


class Condition:
    """What can be said of all tenants' state without looking at anybody's data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def waiting(self) -> dict[str, Waiting]:
        """Returns the jobs that are due, and those whose worker went away, by kind."""
        at = now()
        due = and_(jobs.c.status == "queued", jobs.c.run_after <= at)
        left = and_(jobs.c.status == "running", jobs.c.lease_until <= at)
        since = func.min(func.coalesce(jobs.c.lease_until, jobs.c.run_after))
        query = select(jobs.c.kind, func.count(), since).where(UNFINISHED, or_(due, left)).group_by(jobs.c.kind)
        found = await self._database.query(lambda connection: connection.execute(query).all())
        return {kind: Waiting(number, max(at - oldest, 0.0)) for kind, number, oldest in found}

    @uninterrupted
    async def ingested(self, tenant: str, owner: str, names: Collection[str]) -> dict[str, float]:
        """Returns when the newest ingested document of each of a user's collections was put in, in unix seconds."""
        named = and_(vector_stores.c.tenant == tenant, vector_stores.c.name.in_(sorted(names)))
        theirs = or_(vector_stores.c.user == owner, vector_stores.c.user.is_(None))
        query = (
            select(vector_stores.c.name, func.max(vector_store_files.c.created_at))
            .join(vector_store_files, vector_store_files.c.vector_store_id == vector_stores.c.id)
            .where(named, theirs, vector_store_files.c.status == "completed")
            .group_by(vector_stores.c.name)
        )
        found = await self._database.query(lambda connection: connection.execute(query).all())
        return {row[0]: row[1] for row in found}

    @uninterrupted
    async def backed_up(self) -> float | None:
        """Returns when the newest backup was whole, in unix seconds; None before the first."""
        query = select(meta.c.value).where(meta.c.key == BACKED_UP)
        found = await self._database.query(lambda connection: connection.execute(query).scalar())
        return float(found) if found is not None else None

    @uninterrupted
    async def note_backup(self) -> None:
        """Notes that a backup is whole now."""
        async with self._database.write() as connection:
            await connection.execute(meta.delete().where(meta.c.key == BACKED_UP))
            await connection.execute(meta.insert().values(key=BACKED_UP, value=repr(now())))
