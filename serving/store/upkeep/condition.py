"""The condition of a stack's state: waiting jobs, last checks of its collections, and its newest backup."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import and_, func, or_, select

from serving.core.ids import now
from serving.core.managed import CHECKED_AT, MANAGED
from serving.core.uninterrupted import uninterrupted
from serving.store.background.batches import ENDED
from serving.store.relational.database import Database
from serving.store.relational.tables import UNFINISHED, batch_lines, batches, jobs, meta, vector_stores

BACKED_UP = "backed_up"
"""The row of `meta` with the time of the newest complete backup, in unix seconds."""


@dataclass(frozen=True, slots=True)
class WaitingJobs:
    """Jobs of one kind that are due and not running, and for how many seconds the first of them has waited."""

    number: int
    oldest_s: float


class Condition:
    """The condition of all tenants' state, without reading anybody's data."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def waiting(self) -> dict[str, WaitingJobs]:
        """Returns the jobs that are due, and those whose worker died, by kind."""
        at = now()
        due = and_(jobs.c.status == "queued", jobs.c.run_after <= at)
        left = and_(jobs.c.status == "running", jobs.c.lease_until <= at)
        since = func.min(func.coalesce(jobs.c.lease_until, jobs.c.run_after))
        query = select(jobs.c.kind, func.count(), since).where(UNFINISHED, or_(due, left)).group_by(jobs.c.kind)
        found = await self._database.query(lambda connection: connection.execute(query).all())
        return {kind: WaitingJobs(number, max(at - oldest, 0.0)) for kind, number, oldest in found}

    @uninterrupted
    async def batches(self) -> tuple[int, float]:
        """Returns the number of unanswered lines of batches, and the age of the oldest unfinished batch."""
        unfinished = batches.c.status.not_in(ENDED)
        answered = select(func.count()).select_from(batch_lines.join(batches)).where(unfinished)
        told = answered.correlate(None).scalar_subquery()
        query = select(func.coalesce(func.sum(batches.c.total), 0) - told, func.min(batches.c.created_at))
        found = await self._database.query(lambda connection: connection.execute(query.where(unfinished)).one())
        return max(int(found[0]), 0), max(now() - found[1], 0.0) if found[1] is not None else 0.0

    @uninterrupted
    async def checked(self, tenant: str, owner: str, names: Collection[str]) -> dict[str, float]:
        """Returns when each of a user's collections was last made or found equal to its documents, in unix seconds.

        Before the first check it is the time of creation. Collections that are not synchronised with documents are
        omitted.
        """
        named = and_(vector_stores.c.tenant == tenant, vector_stores.c.name.in_(sorted(names)))
        theirs = or_(vector_stores.c.user == owner, vector_stores.c.user.is_(None))
        query = select(vector_stores.c.name, vector_stores.c.metadata, vector_stores.c.created_at).where(named, theirs)
        found = await self._database.query(lambda connection: connection.execute(query).all())
        checked: dict[str, float] = {}
        for name, metadata, created_at in found:
            if MANAGED.items() <= metadata.items():
                checked[name] = max(_seconds(metadata.get(CHECKED_AT)) or created_at, checked.get(name, 0.0))
        return checked

    @uninterrupted
    async def backed_up(self) -> float | None:
        """Returns the time of the newest complete backup, in unix seconds; None before the first."""
        query = select(meta.c.value).where(meta.c.key == BACKED_UP)
        found = await self._database.query(lambda connection: connection.execute(query).scalar())
        return float(found) if found is not None else None

    @uninterrupted
    async def note_backup(self) -> None:
        """Records that a backup is complete now."""
        async with self._database.write() as connection:
            await connection.execute(meta.delete().where(meta.c.key == BACKED_UP))
            await connection.execute(meta.insert().values(key=BACKED_UP, value=repr(now())))


def _seconds(text: str | None) -> float | None:
    """Returns unix seconds, None for an invalid value that an admin wrote."""
    return float(text) if text is not None and text.isdecimal() else None
