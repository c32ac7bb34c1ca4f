"""Erasure: removes a user from every table, and from every file and index through the jobs that do that anyway.

An erasure is a job, which names the user until nothing is left. It is done again after a crash: each step removes what
is there. A tenant's erasures are done one after the other, and share the compaction at their end.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, not_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal, worker
from serving.core.uninterrupted import uninterrupted
from serving.exports.folder import BeingWritten
from serving.exports.forgetting import forget
from serving.exports.register import Elsewhere, Register, Registered
from serving.store import quotas as limits
from serving.store import usage as counters
from serving.store import values
from serving.store.access import naming, user_name
from serving.store.audit import Entry, add
from serving.store.errors import InvalidValue, Lost, NotFound, StoreError, StoreUnavailable, TooMany
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.counted import counted
from serving.store.jobs.job import ERASE, ERASURE
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Handler, JobContext, Postponed
from serving.store.relational.belongings import CLASSES, LISTS, rows_of_user
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Page
from serving.store.relational.tables import (
    UNFINISHED,
    audit_pseudonyms,
    captures,
    conversations,
    feedback,
    files,
    idempotency_keys,
    jobs,
    keys,
    memories,
    quotas,
    responses,
    sessions,
    turn_vectors,
    users,
    vector_store_files,
    vector_stores,
)
from serving.store.upkeep.compaction import LOOKS, Compactions
from serving.store.upkeep.purge import unpurged
from serving.store.users import require_dispensable
from serving.store.vector_stores import DROP_INDEX, INGEST, PURGE_INDEX, UNINDEX, VectorStores

SETTLE_S = 15.0
"""Seconds in which gateways still know a key that was deleted: what comes in them is removed too."""

WAIT_S = 1.0

EXPORT_PATIENCE_S = 7200.0
"""Seconds for which an export that is being written is waited for without losing an attempt."""

MAX_WAITING = 100
"""Erasures of a tenant that may be unfinished; as many dry runs may be so beside them."""

_COUNT = "count/"
"""How the keys of dry runs begin."""

BRIEF_FAILURES = 4
"""Failures of the database after which an erasure keeps its place in the queue: half a minute of tries."""

EXPORT_LOOKS = 10
"""Waits between two looks at exports that are being written."""

_EXPORTS = "exports"
"""The step after all else was removed."""

TOGETHER = 200  # rows, so that others need not wait long to write
FILES_TOGETHER = 20


_UPKEEP = (INGEST, UNINDEX, DROP_INDEX, PURGE_INDEX, DELETE_BLOB)
"""Kinds of jobs whose payload has ids alone."""


class NotErased(StoreError):
    """Something of the user is left; the message says what."""


_REMOVED: tuple[tuple[Table, str], ...] = (
    (keys, "id"),  # first, so that nothing more comes
    (sessions, "id"),
    (responses, "id"),  # before that by which they are found
    (conversations, "id"),
    (captures, "id"),
    (feedback, "id"),
    (memories, "id"),
    (turn_vectors, "conversation_id"),
    (idempotency_keys, "id"),
    (jobs, "id"),
)
"""In this order, by these columns. Items, summaries and vectors go with conversations; the others have more to them."""


class Erasures:
    """The erasures of all tenants. `audit_key` is what the audit log is hashed with."""

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        files: Files,
        vector_stores: VectorStores,
        audit_key: bytes,
        *,
        settle_s: float = SETTLE_S,
        wait_s: float = WAIT_S,
        patience_s: float = EXPORT_PATIENCE_S,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._files = files
        self._vector_stores = vector_stores
        self._audit_key = audit_key
        self._settle_s = settle_s
        self._wait_s = wait_s
        self._patience_s = patience_s
        self._exports = Register(database)
        self._compactions = Compactions(database, jobs, wait_s=wait_s)
        self.handlers: dict[str, Handler] = {ERASE: counted(self._erase), **self._compactions.handlers}

    async def request(self, principal: Principal, user: str, subject: str | None, *, dry_run: bool) -> Job:
        """Adds the job that erases a user of the principal's tenant, or with `dry_run` only counts what there is.

        `subject` is the user's pseudonym in the audit log, which a dry run need not have. While such a job is
        unfinished, that one is returned. Raises `Conflict` for whom the tenant or the stack cannot be without, and
        `TooMany` where `MAX_WAITING` are unfinished.
        """
        values.text("user", user, min_length=1)
        if user == counters.ERASED:
            raise InvalidValue("user", "is nobody: it stands for all who were erased")
        if not dry_run:
            await self._require_dispensable(principal.tenant, user)
        # A name must not stay in the key of a job that outlives it.
        key = f"{_COUNT}{_digest(user)}" if dry_run else f"{subject}/{dry_run}"
        return await self._enqueue(principal, {"user": user, "subject": subject, "dry_run": dry_run}, key)

    @uninterrupted
    async def _enqueue(self, principal: Principal, payload: dict[str, Any], key: str) -> Job:
        queue = f"erasures-{_digest(principal.tenant)[:32]}"
        waiting = select(jobs.c.dedupe_key).where(jobs.c.tenant == principal.tenant, jobs.c.kind == ERASE, UNFINISHED)
        async with self._database.write() as connection:
            await lock(connection, "group", queue)
            keys = (await connection.execute(waiting)).scalars().all()
            alike = [other for other in keys if (other or "").startswith(_COUNT) == payload["dry_run"]]
            if len(alike) >= MAX_WAITING and key not in alike:
                kind = "dry runs of erasures" if payload["dry_run"] else "erasures"
                raise TooMany(f"{len(alike)} {kind} of the tenant are unfinished: wait until some are done")
            return await self._jobs.enqueue(
                principal,
                ERASE,
                payload,
                connection=connection,
                group=None if payload["dry_run"] else (queue, None),
                dedupe_key=key,
                max_attempts=20,
            )

    async def get(self, principal: Principal, id: str) -> Job | None:
        """Returns the tenant's erasure, None for a job of another kind; raises `NotFound`."""
        job = await self._jobs.get(principal, id)
        return job if job.kind == ERASE else None

    async def list(self, principal: Principal, *, after: str | None = None, limit: int = 20) -> Page[Job]:
        """Returns the tenant's erasures, the newest first."""
        return await self._jobs.list(principal, kind=ERASE, after=after, limit=limit)

    @uninterrupted
    async def counts(self, tenant: str, user: str, *, but: str = "") -> dict[str, int]:
        """Returns how many rows of each class are a user's; the job `but` is not counted."""
        found = {}
        async with self._database.read() as connection:
            for name, table in CLASSES.items():
                query = (
                    select(func.count()).select_from(table).where(_but(table, rows_of_user(table, tenant, user), but))
                )
                found[name] = int((await connection.execute(query)).scalar_one())
            named = 0
            for table in LISTS:
                query = select(func.count()).select_from(table).where(naming(table, tenant, user))
                named += int((await connection.execute(query)).scalar_one())
        found["access_lists"] = named
        found["exports"] = len(await self._exports.holding(tenant, user))
        return found

    async def _erase(self, context: JobContext) -> dict[str, Any]:
        job = context.job
        user = job.payload.get("user")
        if user is None:  # nothing is left but bytes
            await context.progress(0, 1, "compaction")
            await self._compacted(job)
            return {"counts": job.payload["counts"]}
        if job.payload["dry_run"]:
            return {"counts": await self.counts(job.tenant, user, but=job.id)}
        try:
            await self._forget(context, user)
        except (Postponed, Lost):
            raise
        except StoreUnavailable:
            if job.attempts > BRIEF_FAILURES:
                await self._leave_queue(job)
            raise
        except Exception:
            await self._leave_queue(job)
            raise
        raise Postponed(0)

    async def _forget(self, context: JobContext, user: str) -> None:
        """Removes all of a user, and the user's name from the job. Raises unless it has come to that."""
        job = context.job
        counts = job.payload.get("counts")
        if counts is None:
            counts = await self.counts(job.tenant, user, but=job.id)
            await self._note(job, {**job.payload, "counts": counts})
        else:
            await self._followed(job)  # looked at first, for all else takes longer than the jobs that are waited for
            if job.message.startswith(_EXPORTS):  # all else was removed
                await self._finish_exports(context)
        await self._remove(context, user)
        if now() - (job.started_at or now()) < self._settle_s:
            raise Postponed(self._settle_s)
        await context.progress(0, 1, _EXPORTS)
        await self._finish_exports(context)
        await self._forget_exports(job, user)
        await self._followed(job)
        await context.progress(0, 1, "indexes")
        while await self._database.atomically(lambda: self._some_purges(job)):
            await context.check()
        await self._followed(job)
        if left := {name: n for name, n in (await self.counts(job.tenant, user, but=job.id)).items() if n}:
            raise NotErased(f"there are still {left}")
        await self._record(job, user, counts)

    @uninterrupted
    async def _leave_queue(self, job: Job) -> None:
        """Lets the tenant's other erasures go on: this one may fail for long."""
        async with self._database.write() as connection:
            await connection.execute(jobs.update().where(jobs.c.id == job.id).values(group_key=None))

    async def _compacted(self, job: Job) -> None:
        """Raises until a compaction that began since nothing was left has ended."""
        found = None
        if (id := job.payload.get("compaction")) is not None:
            with suppress(NotFound):
                found = await self._compactions.get(id)
        if found is not None and found.status == "succeeded":
            return
        if found is None or found.finished_at is not None:
            await self._join_compaction(job)
        if found is not None and found.status == "failed":
            raise NotErased(f"the database cannot be written anew: {found.error_message}")
        raise Postponed(self._wait_s * LOOKS)

    @uninterrupted
    async def _join_compaction(self, job: Job) -> None:
        async with self._database.write() as connection:
            id = await self._compactions.join(connection)
            await _note(connection, job, job.payload | {"compaction": id})

    async def _remove(self, context: JobContext, user: str) -> None:
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

    @uninterrupted
    async def _require_dispensable(self, tenant: str, user: str) -> None:
        async with self._database.write() as connection:
            await require_dispensable(connection, tenant, user)

    @uninterrupted
    async def _remove_user(self, job: Job, user: str) -> None:
        """Removes whom keys and sign-in depend on, and quotas while their keys are known; takes the name off usage."""
        async with self._database.write() as connection:
            await require_dispensable(connection, job.tenant, user)
            await connection.execute(users.delete().where(rows_of_user(users, job.tenant, user)))
            await connection.run_sync(limits.remove, rows_of_user(quotas, job.tenant, user))
            await connection.run_sync(counters.fold, job.tenant, user)

    async def _finish_exports(self, context: JobContext) -> None:
        """Waits for exports that are being written, which may hold the user, and finishes those whose writer died.

        Raises `NotErased` for one that was waited for in vain.
        """
        job = context.job
        for one in await self._exports.unfinished(job.tenant):
            try:
                await self._exports.take_over(one, here=self._database.is_sqlite)
            except BeingWritten as e:
                self._require_patience(job, one, str(e))
                raise Postponed(self._wait_s * EXPORT_LOOKS) from None
            except Elsewhere as e:
                self._require_patience(job, one, f"{e}: stop it there, or {_by_hand(one)} if its writer died")
                await context.progress(0, 1, f"{_EXPORTS}: {e}")
                raise Postponed(self._wait_s * EXPORT_LOOKS) from None

    def _require_patience(self, job: Job, one: Registered, why: str) -> None:
        """Raises `NotErased` for an export that has been written for too long since the erasure was asked for."""
        if now() - max(job.created_at, one.created_at) > self._patience_s:
            raise NotErased(why)

    async def _forget_exports(self, job: Job, user: str) -> None:
        """Raises `NotErased` for an export on another host: nobody else can take the user out of it."""
        for one in await self._exports.holding(job.tenant, user):
            folder = Path(one.folder)
            if await asyncio.to_thread(folder.exists):
                await asyncio.to_thread(forget, folder, job.tenant, user)
            elif not self._database.is_sqlite:  # with SQLite all of a stack is on one host
                raise _elsewhere(one)
            await self._exports.forgotten(one, user)

    @uninterrupted
    async def _some_files(self, job: Job, user: str) -> int:
        """Deletes some files with all that hangs on them, through jobs that bear this job's id as their user."""
        worker = _worker(job)
        async with self._database.write() as connection:
            mine = select(files.c.id).where(rows_of_user(files, job.tenant, user)).limit(FILES_TOGETHER)
            ids = (await connection.execute(mine)).scalars().all()
            for id in ids:
                await self._files.delete(worker, id)
        return len(ids)

    @uninterrupted
    async def _some_stores(self, job: Job, user: str) -> int:
        """Deletes some vector stores, whosever files are in them; files that are others' stay files."""
        async with self._database.write() as connection:
            mine = select(vector_stores.c.id).where(rows_of_user(vector_stores, job.tenant, user)).limit(FILES_TOGETHER)
            ids = (await connection.execute(mine)).scalars().all()
            for id in sorted(ids):
                await self._vector_stores.delete(_worker(job), id)
        return len(ids)

    @uninterrupted
    async def _some_lists(self, job: Job, user: str) -> int:
        """Takes the user's name off some access lists, and off those in the indexes."""
        name = user_name(user)
        worker = _worker(job)
        async with self._database.write() as connection:
            for table in (files, vector_stores):
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
    async def _some_purges(self, job: Job) -> int:
        """Has some indexes written anew that may keep something of the user on disk.

        That is every one of the tenant: what was taken out of it, long ago and by whomever, stays in its files.
        """
        settled = (job.started_at or now()) + self._settle_s
        async with self._database.write() as connection:
            ids = (await connection.execute(unpurged(job, settled).limit(FILES_TOGETHER))).scalars().all()
            for id in ids:
                await self._jobs.enqueue(_worker(job), PURGE_INDEX, {"vector_store_id": id}, group=(id, None))
        return len(ids)

    @uninterrupted
    async def _take_over(self, job: Job, user: str) -> None:
        """Keeps what the user left to be done to files and indexes that others have too, or that are gone."""
        left = and_(rows_of_user(jobs, job.tenant, user), jobs.c.kind.in_(_UPKEEP), UNFINISHED)
        async with self._database.write() as connection:
            await connection.execute(jobs.update().where(left).values(user=job.id, lane=ERASURE))

    @uninterrupted
    async def _some_rows(self, table: Table, key: str, job: Job, user: str) -> int:
        column = table.c[key]
        where = _but(table, rows_of_user(table, job.tenant, user), job.id)
        if table is jobs:  # what runs holds up the job that undoes it, by its row
            where = and_(where, jobs.c.status != "running")
        async with self._database.write() as connection:
            some = select(column).where(where).limit(TOGETHER)
            found = (await connection.execute(some)).scalars().all()
            await connection.execute(table.delete().where(column.in_(found), table.c.tenant == job.tenant, where))
        return len(found)

    @uninterrupted
    async def _followed(self, job: Job) -> None:
        """Raises unless every job that followed from this one has done its part; those that failed begin again."""
        following = and_(jobs.c.tenant == job.tenant, jobs.c.user == job.id)
        async with self._database.write() as connection:
            count = select(func.count()).select_from(jobs).where(following, UNFINISHED)
            waiting = (await connection.execute(count)).scalar_one()
            again = jobs.update().where(following, jobs.c.status == "failed")
            failed = await connection.execute(again.values(status="queued", attempts=0, finished_at=None))
        if failed.rowcount:
            raise NotErased(f"{failed.rowcount} files or indexes could not be cleared, and are tried again")
        if waiting:
            raise Postponed(self._wait_s)

    @uninterrupted
    async def _record(self, job: Job, user: str, counts: dict[str, int]) -> None:
        """Says in the audit log that the user is gone, and lets go of the name, in one transaction."""
        done = Entry(job.tenant, "user.erase", actor=job.user, target=job.id, subject=user, detail=counts)
        async with self._database.write() as connection:
            await connection.run_sync(add, self._audit_key, done)
            salt = and_(audit_pseudonyms.c.tenant == job.tenant, audit_pseudonyms.c.user == user)
            await connection.execute(audit_pseudonyms.delete().where(salt))
            await _note(connection, job, {k: v for k, v in job.payload.items() if k != "user"} | {"counts": counts})
            left = {"group_key": None} | ({"user": ""} if job.user == user else {})
            await connection.execute(jobs.update().where(jobs.c.id == job.id).values(left))

    @uninterrupted
    async def _note(self, job: Job, payload: dict[str, Any]) -> None:
        async with self._database.write() as connection:
            await _note(connection, job, payload)


async def _note(connection: AsyncConnection, job: Job, payload: dict[str, Any]) -> None:
    await connection.execute(jobs.update().where(jobs.c.id == job.id).values(payload=payload))


def _elsewhere(one: Registered) -> NotErased:
    return NotErased(f"an export is on another host: {_by_hand(one)}")


def _by_hand(one: Registered) -> str:
    return f"run `serving.store forget-export {one.folder}` there"


def _worker(job: Job) -> Principal:
    """Returns as whom the jobs work that follow from an erasure."""
    return worker(job.tenant, job.id)


def _but(table: Table, where: ColumnElement[bool], id: str) -> ColumnElement[bool]:
    return and_(where, not_(jobs.c.id == id)) if table is jobs else where


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
