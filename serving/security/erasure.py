"""Erasure: removes a user's data from every table, and from files and indexes through their own jobs.

An erasure is a job, which contains the user's name until everything is removed. It is idempotent, so that it can be
repeated after a crash. A tenant's erasures run one after the other, and share the compaction at their end.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.exports.folder import BeingWritten
from serving.exports.forgetting import forget
from serving.exports.register import Elsewhere, Register, Registered
from serving.security.removal import Removal, but_job
from serving.store import usage as counters
from serving.store import values
from serving.store.access import naming
from serving.store.audit import Entry, add
from serving.store.errors import InvalidValue, LeaseLost, NotFound, StoreError, StoreUnavailable, TooMany
from serving.store.files import Files
from serving.store.jobs.counted import counted
from serving.store.jobs.job import ERASE
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Handler, JobContext, Postponed
from serving.store.relational.belongings import CLASSES, LISTS, rows_of_user
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Page
from serving.store.relational.tables import (
    UNFINISHED,
    audit_pseudonyms,
    jobs,
)
from serving.store.upkeep.compaction import LOOKS, Compactions
from serving.store.users import require_dispensable
from serving.store.vector_stores import VectorStores

SETTLE_S = 15.0
"""Seconds for which gateways may still accept a deleted key: data stored in this time is removed too."""

WAIT_S = 1.0

EXPORT_PATIENCE_S = 7200.0
"""Seconds of waiting for an export in progress without counting a failed attempt."""

MAX_WAITING = 100
"""Maximum number of unfinished erasures per tenant, and likewise of dry runs."""

_COUNT = "count/"
"""Prefix of the deduplication keys of dry runs."""

BRIEF_FAILURES = 4
"""Number of database failures after which an erasure leaves its place in the queue: half a minute of attempts."""

EXPORT_LOOKS = 10
"""Interval of checks of exports in progress."""

_EXPORTS = "exports"
"""The step after everything else was removed."""


Also = Callable[[Job, str], Awaitable[None]]
"""Removes what else is made of a user's data, for an erasure's job. It is repeated after a crash."""


class NotErased(StoreError):
    """Some data of the user remains; the message says which."""


class Erasures:
    """The erasures of all tenants. `audit_key` is the audit log's hash key.

    `also` are steps of packages above this one, after all rows were removed and nothing new of the user arrives.
    """

    def __init__(
        self,
        database: Database,
        jobs: Jobs,
        files: Files,
        vector_stores: VectorStores,
        audit_key: bytes,
        *,
        also: Sequence[Also] = (),
        settle_s: float = SETTLE_S,
        wait_s: float = WAIT_S,
        patience_s: float = EXPORT_PATIENCE_S,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._audit_key = audit_key
        self._also = also
        self._settle_s = settle_s
        self._wait_s = wait_s
        self._patience_s = patience_s
        self._removal = Removal(database, jobs, files, vector_stores, settle_s=settle_s)
        self._exports = Register(database)
        self._compactions = Compactions(database, jobs, wait_s=wait_s)
        self.handlers: dict[str, Handler] = {ERASE: counted(self._erase), **self._compactions.handlers}

    async def request(self, principal: Principal, user: str, subject: str | None, *, dry_run: bool) -> Job:
        """Adds the job that erases a user of the principal's tenant, or with `dry_run` only counts the data.

        `subject` is the user's pseudonym in the audit log, which a dry run does not need. An unfinished job for the
        same user is returned. Raises `Conflict` for a user that the tenant or the stack needs, and `TooMany` if
        `MAX_WAITING` are unfinished.
        """
        values.text("user", user, min_length=1)
        if user == counters.ERASED:
            raise InvalidValue("user", "is reserved: it represents all erased users")
        if not dry_run:
            await self._require_dispensable(principal.tenant, user)
        # A user's name must not stay in the key of a job that outlives it.
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
        """Returns the tenant's erasures, newest first."""
        return await self._jobs.list(principal, kind=ERASE, after=after, limit=limit)

    @uninterrupted
    async def counts(self, tenant: str, user: str, *, but: str = "") -> dict[str, int]:
        """Returns the number of a user's rows in each class, without the job `but`."""
        found = {}
        async with self._database.read() as connection:
            for name, table in CLASSES.items():
                query = (
                    select(func.count())
                    .select_from(table)
                    .where(but_job(table, rows_of_user(table, tenant, user), but))
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
        if user is None:  # only deleted bytes on disk remain
            await context.progress(0, 1, "compaction")
            await self._compacted(job)
            return {"counts": job.payload["counts"]}
        if job.payload["dry_run"]:
            return {"counts": await self.counts(job.tenant, user, but=job.id)}
        try:
            await self._forget(context, user)
        except (Postponed, LeaseLost):
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
        """Removes all data of a user, and the user's name from the job. Raises unless that is complete."""
        job = context.job
        counts = job.payload.get("counts")
        if counts is None:
            counts = await self.counts(job.tenant, user, but=job.id)
            await self._note(job, {**job.payload, "counts": counts})
        else:
            # Checked first, since everything else takes longer than the jobs that it waits for.
            await self._followed(job)
            if job.message.startswith(_EXPORTS):  # everything else was removed
                await self._finish_exports(context)
        await self._removal.remove(context, user)
        if now() - (job.started_at or now()) < self._settle_s:
            raise Postponed(self._settle_s)
        await context.progress(0, 1, _EXPORTS)
        await self._finish_exports(context)
        await self._forget_exports(job, user)
        for step in self._also:
            await step(job, user)
        await self._followed(job)
        await context.progress(0, 1, "indexes")
        while await self._database.atomically(lambda: self._removal.purge_some(job)):
            await context.check()
        await self._followed(job)
        if left := {name: n for name, n in (await self.counts(job.tenant, user, but=job.id)).items() if n}:
            raise NotErased(f"there are still {left}")
        await self._record(job, user, counts)

    @uninterrupted
    async def _leave_queue(self, job: Job) -> None:
        """Lets the tenant's other erasures continue, since this one may keep failing."""
        async with self._database.write() as connection:
            await connection.execute(jobs.update().where(jobs.c.id == job.id).values(group_key=None))

    async def _compacted(self, job: Job) -> None:
        """Raises until a compaction has ended that began after everything was removed."""
        found = None
        if (id := job.payload.get("compaction")) is not None:
            with suppress(NotFound):
                found = await self._compactions.get(id)
        if found is not None and found.status == "succeeded":
            return
        if found is None or found.finished_at is not None:
            await self._join_compaction(job)
        if found is not None and found.status == "failed":
            raise NotErased(f"the database cannot be compacted: {found.error_message}")
        raise Postponed(self._wait_s * LOOKS)

    @uninterrupted
    async def _join_compaction(self, job: Job) -> None:
        async with self._database.write() as connection:
            id = await self._compactions.join(connection)
            await _note(connection, job, job.payload | {"compaction": id})

    @uninterrupted
    async def _require_dispensable(self, tenant: str, user: str) -> None:
        async with self._database.write() as connection:
            await require_dispensable(connection, tenant, user)

    async def _finish_exports(self, context: JobContext) -> None:
        """Waits for exports in progress, which may contain the user, and finishes those whose writer died.

        Raises `NotErased` when the wait takes too long.
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
        """Raises `NotErased` for an export that has been in progress for too long since the erasure was requested."""
        if now() - max(job.created_at, one.created_at) > self._patience_s:
            raise NotErased(why)

    async def _forget_exports(self, job: Job, user: str) -> None:
        """Raises `NotErased` for an export on another host, where the user must be removed."""
        for one in await self._exports.holding(job.tenant, user):
            folder = Path(one.folder)
            if await asyncio.to_thread(folder.exists):
                await asyncio.to_thread(forget, folder, job.tenant, user)
            elif not self._database.is_sqlite:  # with SQLite the whole stack is on one host
                raise _elsewhere(one)
            await self._exports.forgotten(one, user)

    @uninterrupted
    async def _followed(self, job: Job) -> None:
        """Raises unless all jobs that this one enqueued have succeeded; failed ones are restarted."""
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
        """Records the erasure in the audit log, and removes the name from the job, in one transaction."""
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


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
