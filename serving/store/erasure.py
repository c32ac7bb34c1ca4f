"""Erasure: removes a user from every table, and from every file and index through the jobs that do that anyway.

An erasure is a job, which names the user until nothing is left. It is done again after a crash: each step removes what
is there. What belongs to a user is said in this one place, by a condition for each table.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.exports.forgetting import forget
from serving.exports.register import Register
from serving.security.principal import Principal
from serving.store import quotas as limits
from serving.store import usage as counters
from serving.store import values
from serving.store.access import naming, user_name
from serving.store.audit import Entry, add
from serving.store.counted import counted
from serving.store.database import Database
from serving.store.errors import InvalidValue, StoreError
from serving.store.files import DELETE_BLOB, Files
from serving.store.ids import now
from serving.store.jobs import Job, Jobs
from serving.store.models import (
    UNFINISHED,
    audit_pseudonyms,
    captures,
    conversation_items,
    conversation_summaries,
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
    usage,
    users,
    vector_store_files,
    vector_stores,
)
from serving.store.rows import Page
from serving.store.uninterrupted import uninterrupted
from serving.store.users import require_dispensable
from serving.store.vector_stores import DROP_INDEX, INGEST, PURGE_INDEX, UNINDEX, VectorStores
from serving.store.worker import Handler, JobContext, Postponed

ERASE = "erase_user"
"""Job kind: payload {"user", "subject", "dry_run"}; result {"counts"}: how many of each class there were."""

SETTLE_S = 15.0
"""Seconds in which gateways still know a key that was deleted: what comes in them is removed too."""

WAIT_S = 1.0
TOGETHER = 200  # rows, so that others need not wait long to write
FILES_TOGETHER = 20


_UPKEEP = (INGEST, UNINDEX, DROP_INDEX, PURGE_INDEX, DELETE_BLOB)
"""Kinds of jobs whose payload has ids alone."""


class NotErased(StoreError):
    """Something of the user is left; the message says what."""


def theirs(table: Table, tenant: str, user: str) -> ColumnElement[bool]:
    """What of a table is a user's."""
    mine = and_(captures.c.tenant == tenant, captures.c.user == user)
    if table is conversations:
        talks = select(captures.c.conversation_id).where(mine, captures.c.conversation_id.is_not(None))
        recalled = select(turn_vectors.c.conversation_id).where(theirs(turn_vectors, tenant, user))
        return _owned(table, tenant, user, or_(table.c.id.in_(talks), table.c.id.in_(recalled)))
    if table is responses:
        talks = select(conversations.c.id).where(theirs(conversations, tenant, user))
        asked = select(captures.c.id).where(mine)
        return _owned(table, tenant, user, or_(table.c.id.in_(asked), table.c.conversation_id.in_(talks)))
    if table in (conversation_items, conversation_summaries):
        talks = select(conversations.c.id).where(theirs(conversations, tenant, user))
        return and_(table.c.tenant == tenant, table.c.conversation_id.in_(talks))
    if table is files:
        ingested = select(jobs.c.group_item).where(
            jobs.c.tenant == tenant, jobs.c.user == user, jobs.c.kind == INGEST, jobs.c.group_item.is_not(None)
        )
        return _owned(table, tenant, user, table.c.id.in_(ingested))
    if table is jobs:
        about = and_(jobs.c.kind == ERASE, jobs.c.payload["user"].as_string() == user)
        return and_(table.c.tenant == tenant, or_(table.c.user == user, about))
    if table is quotas:
        held = select(keys.c.id).where(theirs(keys, tenant, user))
        own = or_(
            and_(table.c.subject == "user", table.c.subject_id == user),
            and_(table.c.subject == "key", table.c.subject_id.in_(held)),
        )
        return and_(table.c.tenant == tenant, own)
    return and_(table.c.tenant == tenant, table.c.user == user)


def _owned(table: Table, tenant: str, user: str, older: ColumnElement[bool]) -> ColumnElement[bool]:
    """What has the user as its owner, and of what is older than owners that which `older` says."""
    return and_(table.c.tenant == tenant, or_(table.c.user == user, and_(table.c.user.is_(None), older)))


_CLASSES: dict[str, Table] = {
    "users": users,
    "sessions": sessions,
    "files": files,
    "vector_stores": vector_stores,
    "conversation_items": conversation_items,
    "conversation_summaries": conversation_summaries,
    "responses": responses,
    "conversations": conversations,
    "captures": captures,
    "feedback": feedback,
    "memories": memories,
    "turn_vectors": turn_vectors,
    "idempotency_keys": idempotency_keys,
    "keys": keys,
    "quotas": quotas,
    "usage": usage,
    "jobs": jobs,
}

_LISTS = (files, vector_stores, vector_store_files)
"""Tables with access lists, which name users."""

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
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._files = files
        self._vector_stores = vector_stores
        self._audit_key = audit_key
        self._settle_s = settle_s
        self._exports = Register(database)
        self.handlers: dict[str, Handler] = {ERASE: counted(self._erase)}

    async def request(self, principal: Principal, user: str, subject: str, *, dry_run: bool) -> Job:
        """Adds the job that erases a user of the principal's tenant, or with `dry_run` only counts what there is.

        `subject` is the user's pseudonym in the audit log. While such a job is unfinished, that one is returned.
        Raises `Conflict` for whom the tenant or the stack cannot be without.
        """
        values.text("user", user, min_length=1)
        if user == counters.ERASED:
            raise InvalidValue("user", "is nobody: it stands for all who were erased")
        if not dry_run:
            await self._require_dispensable(principal.tenant, user)
        payload = {"user": user, "subject": subject, "dry_run": dry_run}
        return await self._jobs.enqueue(principal, ERASE, payload, dedupe_key=f"{subject}/{dry_run}", max_attempts=20)

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
            for name, table in _CLASSES.items():
                query = select(func.count()).select_from(table).where(_but(table, theirs(table, tenant, user), but))
                found[name] = int((await connection.execute(query)).scalar_one())
            named = 0
            for table in _LISTS:
                query = select(func.count()).select_from(table).where(naming(table, tenant, user))
                named += int((await connection.execute(query)).scalar_one())
        found["access_lists"] = named
        found["exports"] = len(await self._exports.holding(tenant, user))
        return found

    async def _erase(self, context: JobContext) -> dict[str, Any]:
        job = context.job
        user = job.payload.get("user")
        if user is None:  # nothing was left, and the process ended before its bytes were overwritten
            await self._database.rewrite()
            return {"counts": job.payload["counts"]}
        if job.payload["dry_run"]:
            return {"counts": await self.counts(job.tenant, user, but=job.id)}
        counts = job.payload.get("counts")
        if counts is None:
            counts = await self.counts(job.tenant, user, but=job.id)
            await self._note(job, {**job.payload, "counts": counts})
        await self._remove(context, user)
        await self._forget_exports(job, user)
        if now() - (job.started_at or now()) < self._settle_s:
            raise Postponed(self._settle_s)
        await self._followed(job)
        if left := {name: n for name, n in (await self.counts(job.tenant, user, but=job.id)).items() if n}:
            raise NotErased(f"there are still {left}")
        await self._record(job, user, counts)
        await self._database.rewrite()
        return {"counts": counts}

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
            await connection.execute(users.delete().where(theirs(users, job.tenant, user)))
            await connection.run_sync(limits.remove, theirs(quotas, job.tenant, user))
            await connection.run_sync(counters.fold, job.tenant, user)

    async def _forget_exports(self, job: Job, user: str) -> None:
        """Raises `NotErased` for an export on another host: nobody else can take the user out of it."""
        for one in await self._exports.holding(job.tenant, user):
            folder = Path(one.folder)
            if await asyncio.to_thread(folder.exists):
                await asyncio.to_thread(forget, folder, job.tenant, user)
            elif not self._database.is_sqlite:  # with SQLite all of a stack is on one host
                raise NotErased(
                    f"an export is not on this host: run `serving.store forget-export {one.folder}` on its own"
                )
            await self._exports.forgotten(one, user)

    @uninterrupted
    async def _some_files(self, job: Job, user: str) -> int:
        """Deletes some files with all that hangs on them, through jobs that bear this job's id as their user."""
        worker = _worker(job)
        async with self._database.write() as connection:
            mine = select(files.c.id).where(theirs(files, job.tenant, user)).limit(FILES_TOGETHER)
            ids = (await connection.execute(mine)).scalars().all()
            holding = select(vector_store_files.c.vector_store_id).where(vector_store_files.c.file_id.in_(ids))
            stores = (await connection.execute(holding.distinct())).scalars().all()
            for id in ids:
                await self._files.delete(worker, id)
            for store in sorted(stores):  # after the jobs that take the files out, in whose group it is
                await self._jobs.enqueue(worker, PURGE_INDEX, {"vector_store_id": store}, group=(store, None))
        return len(ids)

    @uninterrupted
    async def _some_stores(self, job: Job, user: str) -> int:
        """Deletes some vector stores, whosever files are in them; files that are others' stay files."""
        async with self._database.write() as connection:
            mine = select(vector_stores.c.id).where(theirs(vector_stores, job.tenant, user)).limit(FILES_TOGETHER)
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
            for store in sorted({store for store, _, _ in attached}):
                await self._jobs.enqueue(worker, PURGE_INDEX, {"vector_store_id": store}, group=(store, None))
        return len(attached)

    @uninterrupted
    async def _take_over(self, job: Job, user: str) -> None:
        """Keeps what the user left to be done to files and indexes that others have too, or that are gone."""
        left = and_(theirs(jobs, job.tenant, user), jobs.c.kind.in_(_UPKEEP), UNFINISHED)
        async with self._database.write() as connection:
            await connection.execute(jobs.update().where(left).values(user=job.id))

    @uninterrupted
    async def _some_rows(self, table: Table, key: str, job: Job, user: str) -> int:
        column = table.c[key]
        where = _but(table, theirs(table, job.tenant, user), job.id)
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
            raise Postponed(WAIT_S)

    @uninterrupted
    async def _record(self, job: Job, user: str, counts: dict[str, int]) -> None:
        """Says in the audit log that the user is gone, and lets go of the name, in one transaction."""
        done = Entry(job.tenant, "user.erase", actor=job.user, target=job.id, subject=user, detail=counts)
        async with self._database.write() as connection:
            await connection.run_sync(add, self._audit_key, done)
            salt = and_(audit_pseudonyms.c.tenant == job.tenant, audit_pseudonyms.c.user == user)
            await connection.execute(audit_pseudonyms.delete().where(salt))
            await _note(connection, job, {k: v for k, v in job.payload.items() if k != "user"} | {"counts": counts})
            if job.user == user:
                await connection.execute(jobs.update().where(jobs.c.id == job.id).values(user=""))

    @uninterrupted
    async def _note(self, job: Job, payload: dict[str, Any]) -> None:
        async with self._database.write() as connection:
            await _note(connection, job, payload)


async def _note(connection: AsyncConnection, job: Job, payload: dict[str, Any]) -> None:
    await connection.execute(jobs.update().where(jobs.c.id == job.id).values(payload=payload))


def _worker(job: Job) -> Principal:
    """Returns as whom the jobs work that follow from an erasure."""
    return Principal(tenant=job.tenant, user=job.id, key_id=job.id, role="admin")


def _but(table: Table, where: ColumnElement[bool], id: str) -> ColumnElement[bool]:
    return and_(where, not_(jobs.c.id == id)) if table is jobs else where
