"""Compactions: the database is rewritten, so that no deleted data stays on disk.

Others wait meanwhile, so one compaction serves all current erasures: it is a job of the stack's own, which erasures
join until it begins.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import STACK, worker
from serving.core.uninterrupted import uninterrupted
from serving.store.jobs import job as rows
from serving.store.jobs.counted import counted
from serving.store.jobs.job import COMPACT, ERASE
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Handler, JobContext, Postponed
from serving.store.relational.database import Database
from serving.store.relational.tables import UNFINISHED, jobs

PATIENCE_S = 600.0
"""Maximum time in seconds that a compaction waits for erasures that were requested before it."""

LOOKS = 30
"""Erasures that joined are woken at the end; in case that fails, they check after this many waits."""

_WHO = worker(STACK, COMPACT)


class Compactions:
    """The compactions of one database. They check every `wait_s` seconds whether they may begin."""

    def __init__(self, database: Database, jobs: Jobs, *, wait_s: float) -> None:
        self._database = database
        self._jobs = jobs
        self._wait_s = wait_s
        jobs.on_end(COMPACT, _wake)
        self.handlers: dict[str, Handler] = {COMPACT: counted(self._compact)}

    async def join(self, connection: AsyncConnection) -> str:
        """Returns the id of a compaction that has not begun.

        It removes data that was deleted in transactions before that of `connection`.
        """
        group = (COMPACT, None)
        job = await self._jobs.enqueue(_WHO, COMPACT, {}, connection=connection, group=group, dedupe_key="next")
        return job.id

    async def get(self, id: str) -> Job:
        """Returns a compaction's job, or raises `NotFound`."""
        return await self._jobs.get(_WHO, id)

    async def _compact(self, context: JobContext) -> dict[str, Any]:
        if now() - context.job.created_at < PATIENCE_S and await self._coming(context.job):
            raise Postponed(self._wait_s)
        await self._begin(context.job)
        await self._database.rewrite()
        return {}

    @uninterrupted
    async def _coming(self, job: Job) -> int:
        """Returns the number of earlier erasures that still have to remove data, and have never failed.

        One that removed everything but has not joined counts too, since others may run between its two steps.
        """
        this = select(jobs.c.seq).where(jobs.c.id == job.id).scalar_subquery()
        # Those that removed everything, or that failed, have left their tenant's queue.
        told = jobs.c.payload["user"].as_string(), jobs.c.payload["compaction"].as_string()
        coming = or_(jobs.c.group_key.is_not(None), and_(*(name.is_(None) for name in told)))
        queued = jobs.c.kind == ERASE, UNFINISHED, coming, jobs.c.seq < this
        async with self._database.read() as connection:
            return int((await connection.execute(select(func.count()).where(*queued))).scalar_one())

    @uninterrupted
    async def _begin(self, job: Job) -> None:
        """From now on nobody can join."""
        async with self._database.write() as connection:
            await connection.execute(jobs.update().where(rows.is_leased(job)).values(dedupe_key=None))


async def _wake(connection: AsyncConnection, ended: Job) -> None:
    """Wakes the erasures that joined: polling every second by many would keep workers from other jobs."""
    joined = and_(jobs.c.kind == ERASE, UNFINISHED, jobs.c.payload["compaction"].as_string() == ended.id)
    await connection.execute(jobs.update().where(joined, jobs.c.status == "queued").values(run_after=now()))
