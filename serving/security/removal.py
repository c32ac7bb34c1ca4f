"""Removes a user's rows, a few at a time, so that other writers do not wait long."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, not_, select

from serving.core.ids import now
from serving.core.principal import Principal, worker
from serving.core.uninterrupted import uninterrupted
from serving.store import quotas as limits
from serving.store import usage as counters
from serving.store.access import naming, user_name
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.job import ERASURE
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import JobContext
from serving.store.relational.belongings import rows_of_user
from serving.store.relational.database import Database
from serving.store.relational.tables import (
    UNFINISHED,
    assistants,
    batches,
    captures,
    checkpoint_writes,
    checkpoints,
    conversations,
    feedback,
    files,
    idempotency_keys,
    jobs,
    keys,
    memories,
    prompt_versions,
    prompts,
    quotas,
    responses,
    sessions,
    shares,
    turn_vectors,
    users,
    vector_store_files,
    vector_stores,
)
from serving.store.upkeep.purge import unpurged
from serving.store.users import require_dispensable
from serving.store.vector_stores import DROP_INDEX, INGEST, PURGE_INDEX, UNINDEX, VectorStores

TOGETHER = 200
"""Rows per transaction."""

FILES_TOGETHER = 20

_UPKEEP = (INGEST, UNINDEX, DROP_INDEX, PURGE_INDEX, DELETE_BLOB)
"""Kinds of jobs whose payload has only ids."""

_REMOVED: tuple[tuple[Table, str], ...] = (
    (keys, "id"),  # first, so that no new data is stored
    (sessions, "id"),
    (shares, "id"),
    (batches, "id"),
    (responses, "id"),  # before the rows by which they are found
    (conversations, "id"),
    (captures, "id"),
    (feedback, "id"),
    (memories, "id"),
    (assistants, "id"),
    (prompts, "id"),
    (turn_vectors, "conversation_id"),
    (checkpoint_writes, "checkpoint"),
    (checkpoints, "id"),
    (idempotency_keys, "id"),
    (jobs, "id"),
)
"""In this order, by these columns; other tables need more work.

Items, summaries and vectors are deleted with conversations, lines with batches, versions with assistants and prompts.
"""


class Removal:
    """Removes users' data, except the jobs that erase them. Files and indexes are removed by jobs.

    An index is purged `settle_s` after an erasure began, when no more data of the user arrives.
    """

    def __init__(
        self, database: Database, jobs: Jobs, files: Files, vector_stores: VectorStores, *, settle_s: float
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._files = files
        self._vector_stores = vector_stores
        self._settle_s = settle_s

    async def remove(self, context: JobContext, user: str) -> None:
        """Removes all rows of a user, and enqueues jobs for files and indexes."""
        job = context.job
        await self._remove_user(job, user)
        removed = 0
        while found := await self._database.atomically(lambda: self._some_files(job, user)):
            removed += found
            await context.progress(removed, job.total, "files")
        while await self._database.atomically(lambda: self._some_stores(job, user)):
            await context.check()
        while await self._database.atomically(lambda: self._some_lists(job, user)):
            await context.check()
        await self._take_over(job, user)
        for step, (table, key) in enumerate(_REMOVED, 1):
            while await self._some_rows(table, key, job, user):
                await context.check()
            await context.progress(step, len(_REMOVED), table.name)
        while await self._some_authors(job, user):
            await context.check()

    @uninterrupted
    async def purge_some(self, job: Job) -> int:
        """Rewrites some indexes that may still contain data of the user on disk.

        These are all of the tenant's indexes: chunks that anybody removed at any time stay in their files until then.
        """
        settled = (job.started_at or now()) + self._settle_s
        async with self._database.write() as connection:
            ids = (await connection.execute(unpurged(job, settled).limit(FILES_TOGETHER))).scalars().all()
            for id in ids:
                await self._jobs.enqueue(_worker(job), PURGE_INDEX, {"vector_store_id": id}, group=(id, None))
        return len(ids)

    @uninterrupted
    async def _remove_user(self, job: Job, user: str) -> None:
        """Removes the user's sign-in and shares, and quotas while their keys are known; removes the name from usage."""
        async with self._database.write() as connection:
            await require_dispensable(connection, job.tenant, user)
            await connection.execute(users.delete().where(rows_of_user(users, job.tenant, user)))
            # Whoever signs in with the name meanwhile does not open them again.
            await connection.execute(shares.delete().where(rows_of_user(shares, job.tenant, user)))
            await connection.run_sync(limits.remove, rows_of_user(quotas, job.tenant, user))
            await connection.run_sync(counters.fold, job.tenant, user)

    @uninterrupted
    async def _some_files(self, job: Job, user: str) -> int:
        """Deletes some files with all dependent rows, through jobs with this job's id as their user."""
        worker = _worker(job)
        async with self._database.write() as connection:
            mine = select(files.c.id).where(rows_of_user(files, job.tenant, user)).limit(FILES_TOGETHER)
            ids = (await connection.execute(mine)).scalars().all()
            for id in ids:
                await self._files.delete(worker, id)
        return len(ids)

    @uninterrupted
    async def _some_stores(self, job: Job, user: str) -> int:
        """Deletes some vector stores; other users' files in them are not deleted."""
        async with self._database.write() as connection:
            mine = select(vector_stores.c.id).where(rows_of_user(vector_stores, job.tenant, user)).limit(FILES_TOGETHER)
            ids = (await connection.execute(mine)).scalars().all()
            for id in sorted(ids):
                await self._vector_stores.delete(_worker(job), id)
        return len(ids)

    @uninterrupted
    async def _some_lists(self, job: Job, user: str) -> int:
        """Removes the user's name from some access lists, and from those in the indexes."""
        name = user_name(user)
        worker = _worker(job)
        async with self._database.write() as connection:
            for table in (files, vector_stores, assistants):
                query = select(table.c.id, table.c.access).where(naming(table, job.tenant, user)).limit(TOGETHER)
                found = (await connection.execute(query.order_by(table.c.id).with_for_update())).all()
                for row in found:
                    kept = [each for each in row.access if each != name]
                    await connection.execute(table.update().where(table.c.id == row.id).values(access=kept))
                if found:
                    return len(found)
            of = vector_store_files.c
            some = select(of.vector_store_id, of.file_id, of.access).where(naming(vector_store_files, job.tenant, user))
            some = some.order_by(of.vector_store_id, of.file_id).limit(FILES_TOGETHER)
            attached = (await connection.execute(some)).all()
            for store, file, names in attached:
                kept = [each for each in names if each != name]
                await self._vector_stores.relist(worker, store, file, kept, connection)
        return len(attached)

    @uninterrupted
    async def _some_authors(self, job: Job, user: str) -> int:
        """Removes the user's name from some versions of others' prompts, which stay their owners'."""
        mine = rows_of_user(prompt_versions, job.tenant, user)
        async with self._database.write() as connection:
            ids = (await connection.execute(select(prompt_versions.c.id).where(mine).limit(TOGETHER))).scalars().all()
            anonymous = prompt_versions.update().where(prompt_versions.c.id.in_(ids)).values(user=None)
            await connection.execute(anonymous)
        return len(ids)

    @uninterrupted
    async def _take_over(self, job: Job, user: str) -> None:
        """Takes over the user's unfinished jobs on files and indexes that are shared or already deleted."""
        left = and_(rows_of_user(jobs, job.tenant, user), jobs.c.kind.in_(_UPKEEP), UNFINISHED)
        async with self._database.write() as connection:
            await connection.execute(jobs.update().where(left).values(user=job.id, lane=ERASURE))

    @uninterrupted
    async def _some_rows(self, table: Table, key: str, job: Job, user: str) -> int:
        column = table.c[key]
        where = but_job(table, rows_of_user(table, job.tenant, user), job.id)
        if table is jobs:  # a running job blocks the one that undoes its work, through its row
            where = and_(where, jobs.c.status != "running")
        async with self._database.write() as connection:
            some = select(column).where(where).limit(TOGETHER)
            found = (await connection.execute(some)).scalars().all()
            await connection.execute(table.delete().where(column.in_(found), table.c.tenant == job.tenant, where))
        return len(found)


def but_job(table: Table, where: ColumnElement[bool], id: str) -> ColumnElement[bool]:
    """Returns `where`, excluding the job `id`."""
    return and_(where, not_(jobs.c.id == id)) if table is jobs else where


def _worker(job: Job) -> Principal:
    """Returns the principal of jobs that an erasure enqueues."""
    return worker(job.tenant, job.id)
