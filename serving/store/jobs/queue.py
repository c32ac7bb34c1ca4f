"""The durable queue of jobs: background work that outlives the process that runs it.

A worker holds a job by a lease with a unique name for each claim: the next claim changes it, and all writes of a worker
that lost its job then match no row (`LeaseLost`).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import and_, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import InvalidValue, LeaseLost
from serving.store.jobs import job as rows
from serving.store.jobs import pause
from serving.store.jobs.job import MAX_ERROR, SERVER_ERROR, Job, Json, OnEnd, Status
from serving.store.relational import encoding
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock_out
from serving.store.relational.rows import Page, build
from serving.store.relational.tables import UNFINISHED, jobs

MAX_OWNER = 200  # maximum length of a worker's name

__all__ = ["Job", "Jobs", "Json", "OnEnd", "Status"]


class Jobs:
    """Enqueues, leases and ends jobs. `backoff_s` doubles with each failed attempt, up to `backoff_cap_s`."""

    def __init__(self, database: Database, *, backoff_s: float = 2, backoff_cap_s: float = 300) -> None:
        self._database = database
        self._backoff_s = backoff_s
        self._backoff_cap_s = backoff_cap_s
        self._on_end: dict[str, OnEnd] = {}

    def on_end(self, kind: str, callback: OnEnd) -> None:
        """Registers an additional step of the transaction that ends a job of `kind`."""
        self._on_end[kind] = callback

    @uninterrupted
    async def enqueue(
        self,
        principal: Principal,
        kind: str,
        payload: Json,
        *,
        connection: AsyncConnection | None = None,
        group: tuple[str, str | None] | None = None,
        dedupe_key: str | None = None,
        max_attempts: int = 5,
        delay_s: float = 0,
    ) -> Job:
        """Adds a job, within the caller's transaction when `connection` is given.

        Jobs of one `group` (key, item) run one after another in the order of their arrival, if they have the same item;
        an item of None waits for, and blocks, every item of its key. If a job with the same tenant, kind and
        `dedupe_key` is unfinished, that one is returned.
        """
        row = _row(principal, kind, payload, group, dedupe_key, max_attempts, delay_s)
        async with self._database.write(connection) as connection:
            if dedupe_key is not None:
                await connection.run_sync(_keep_order, row)
                return await _insert_unless_twin(connection, row)
            await connection.run_sync(_insert, row)
            return await rows.one(connection, jobs.c.id == row["id"])

    async def enqueue_all(
        self,
        principal: Principal,
        kind: str,
        work: Sequence[tuple[str, Json, tuple[str, str | None]]],
        connection: AsyncConnection,
    ) -> None:
        """Adds many jobs within the caller's transaction: each with its id, payload and group, as `enqueue`."""
        added = [_row(principal, kind, payload, group, None, 5, 0) | {"id": id} for id, payload, group in work]
        for key in {row["group_key"]: row for row in added}.values():
            await connection.run_sync(_keep_order, key)
        await connection.execute(jobs.insert(), added)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Job:
        """Returns the tenant's job or raises `NotFound`."""
        async with self._database.read() as connection:
            return await rows.one(connection, rows.owned(principal, id), id)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        kind: str | None = None,
        status: Status | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> Page[Job]:
        """Returns the tenant's jobs, newest first."""
        if not 1 <= limit <= 100:
            raise InvalidValue("limit", "must be from 1 to 100")
        query = select(jobs).where(jobs.c.tenant == principal.tenant)
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        if status is not None:
            query = query.where(jobs.c.status == status)
        async with self._database.read() as connection:
            if after is not None:
                at = (await connection.execute(select(jobs.c.seq).where(rows.owned(principal, after)))).scalar()
                if at is None:
                    raise InvalidValue("after", "there is no such object")
                query = query.where(jobs.c.seq < at)
            newest = query.order_by(jobs.c.seq.desc()).limit(limit + 1)
            found = [build(Job, row) for row in (await connection.execute(newest)).mappings()]
        return Page(found[:limit], len(found) > limit)

    @uninterrupted
    async def unfinished(self) -> dict[tuple[str, str], int]:
        """Returns the numbers of queued and running jobs of all tenants: {(kind, status): number}."""
        query = select(jobs.c.kind, jobs.c.status, func.count()).where(UNFINISHED).group_by(jobs.c.kind, jobs.c.status)
        async with self._database.read() as connection:
            return {(kind, status): n for kind, status, n in await connection.execute(query)}

    @uninterrupted
    async def prune(self, older_than_s: float) -> int:
        """Removes jobs of all tenants that ended longer ago than `older_than_s`. Returns their number."""
        old = jobs.delete().where(jobs.c.finished_at < now() - older_than_s)
        async with self._database.write() as connection:
            return (await connection.execute(old)).rowcount

    @uninterrupted
    async def cancel(self, principal: Principal, id: str, *, connection: AsyncConnection | None = None) -> Job:
        """Cancels a job: a queued one immediately, a running one when its worker notices. No effect on an ended one."""
        async with self._database.write(connection) as connection:
            job = await rows.one(connection, rows.owned(principal, id), id, lock=True)
            if job.status == "queued":
                return await self._end(connection, job, "cancelled")
            if job.status == "running":
                # Its dedupe key is released: new work with the same key is not the cancelled job.
                asked = {"cancel_requested": True, "dedupe_key": None}
                await connection.execute(jobs.update().where(jobs.c.id == id).values(asked))
            return await rows.one(connection, jobs.c.id == id)

    async def cancel_group(self, principal: Principal, key: str, *, connection: AsyncConnection) -> None:
        """Cancels every job of a group, for an owner that is being deleted: `on_end` is not called."""
        mine = and_(jobs.c.tenant == principal.tenant, jobs.c.group_key == key, UNFINISHED)
        ended = {"status": "cancelled", "finished_at": now()}
        await connection.execute(jobs.update().where(mine, jobs.c.status == "queued").values(ended))
        asked = {"cancel_requested": True, "dedupe_key": None}
        await connection.execute(jobs.update().where(mine, jobs.c.status == "running").values(asked))

    @uninterrupted
    async def claim(
        self,
        kinds: Sequence[str],
        owner: str,
        lease_s: float,
        *,
        lane: str | None = None,
        without: frozenset[str] = frozenset(),
    ) -> Job | None:
        """Leases the oldest job that may run, of the tenant to be served next, to `owner` for `lease_s` seconds.

        Tenants are served in turns: those with fewer running jobs first, whoever came first. Only jobs of one `lane`,
        by default of any, and of none of the tenants `without`. It is atomic across processes. A job whose lease
        expired can be claimed again; one that used up its attempts this way ends as failed, and one whose cancellation
        was not noticed as cancelled.
        """
        # An idle worker polls often: the check takes no write lock and little time.
        if not await self._database.look_up(rows.any_claimable(tuple(kinds), lane, without), {"at": now()}):
            return None
        async with self._database.read() as connection:
            if await pause.active(connection):
                return None
        while True:
            async with self._database.write() as connection:
                if await pause.active(connection, claiming=True):
                    return None
                at = now()
                job = await rows.next_claimable(connection, kinds, lane, without, at)
                if job is None:
                    return None
                if job.status == "running" and await self._bury(connection, job):
                    continue
                await connection.execute(
                    jobs.update()
                    .where(jobs.c.id == job.id)
                    .values(
                        status="running",
                        attempts=job.attempts + 1,
                        lease_owner=f"{owner[:MAX_OWNER]}/{new_id('lease')}",
                        lease_until=at + lease_s,
                        started_at=job.started_at or at,
                    )
                )
                return await rows.one(connection, jobs.c.id == job.id)

    @uninterrupted
    async def heartbeat(
        self,
        job: Job,
        lease_s: float,
        *,
        done: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        """Renews the lease and records progress. Raises `LeaseLost` when the job was taken over, ended or cancelled."""
        changes: Json = {"lease_until": now() + lease_s}
        if done is not None:
            changes["done"] = done
        if total is not None:
            changes["total"] = total
        if message is not None:
            changes["message"] = values.storable(message, MAX_ERROR)
        async with self._database.write() as connection:
            found = await connection.execute(
                jobs.update().where(rows.is_leased(job), jobs.c.cancel_requested.is_(False)).values(changes)
            )
            if found.rowcount != 1:
                raise LeaseLost(f"{job.id} is no longer held by this worker")

    @uninterrupted
    async def complete(self, job: Job, result: Json | None = None) -> Job:
        """Ends the job as succeeded. Raises `LeaseLost` when the worker no longer holds it."""
        async with self._database.write() as connection:
            return await self._end(connection, await rows.hold(connection, job), "succeeded", result=result)

    @uninterrupted
    async def fail(
        self, job: Job, message: str, *, code: str = SERVER_ERROR, retryable: bool = True, delay_s: float | None = None
    ) -> Job:
        """Requeues the job for an attempt after `delay_s`, by default the back-off, or ends it as failed after the last
        attempt or when not retryable.
        """
        async with self._database.write() as connection:
            held = await rows.hold(connection, job)
            if held.cancel_requested:
                return await self._end(connection, held, "cancelled")
            if not retryable or held.attempts >= held.max_attempts:
                return await self._end(connection, held, "failed", code=code, message=message)
            delay = min(self._backoff_cap_s, self._backoff_s * 2 ** (held.attempts - 1))
            return await rows.requeue(
                connection,
                held,
                run_after=now() + (delay if delay_s is None else delay_s),
                error_code=code,
                error_message=values.storable(message, MAX_ERROR),
            )

    @uninterrupted
    async def release(self, job: Job, *, delay_s: float = 0) -> Job:
        """Releases an unfinished job: a cancelled one ends, others run again after `delay_s`, and the attempt does not
        count.
        """
        async with self._database.write() as connection:
            held = await rows.hold(connection, job)
            if held.cancel_requested:
                return await self._end(connection, held, "cancelled")
            return await rows.requeue(connection, held, run_after=now() + delay_s, attempts=held.attempts - 1)

    async def _bury(self, connection: AsyncConnection, job: Job) -> bool:
        """Ends a job whose worker died, if no attempts are left."""
        if job.cancel_requested:
            await self._end(connection, job, "cancelled")
            return True
        if job.attempts >= job.max_attempts:
            message = f"the worker died or hung in each of {job.attempts} attempts"
            await self._end(connection, job, "failed", code=SERVER_ERROR, message=message)
            return True
        return False

    async def _end(
        self,
        connection: AsyncConnection,
        job: Job,
        status: Status,
        *,
        result: Json | None = None,
        code: str | None = None,
        message: str | None = None,
    ) -> Job:
        await connection.execute(
            jobs.update()
            .where(jobs.c.id == job.id)
            .values(
                status=status,
                result=result,
                error_code=code,
                error_message=values.storable(message, MAX_ERROR) if message is not None else None,
                lease_owner=None,
                lease_until=None,
                finished_at=now(),
            )
        )
        ended = await rows.one(connection, jobs.c.id == job.id)
        if callback := self._on_end.get(job.kind):
            await callback(connection, ended)
        return ended


def add_job(
    connection: Connection,
    principal: Principal,
    kind: str,
    payload: Json,
    *,
    group: tuple[str, str | None] | None = None,
    max_attempts: int = 5,
    id: str | None = None,
    size: int = 0,
    tokens: int = 0,
) -> None:
    """Adds a job within a transaction, as `Jobs.enqueue` does.

    `id` is its id, `size` the number of bytes that count as stored until its end, and `tokens` are those that it may
    use.
    """
    row = _row(principal, kind, payload, group, None, max_attempts, 0) | {"bytes": size, "tokens": tokens}
    if id is not None:
        row["id"] = id
    _insert(connection, row)


def size_of(payload: Json) -> int:
    """Returns the bytes of a payload in the queue."""
    return len(encoding.dumps(payload).encode())


def _row(
    principal: Principal,
    kind: str,
    payload: Json,
    group: tuple[str, str | None] | None,
    dedupe_key: str | None,
    max_attempts: int,
    delay_s: float,
) -> Json:
    values.text("kind", kind, max_length=64, min_length=1)
    if max_attempts < 1:
        raise InvalidValue("max_attempts", "must be at least 1")
    if dedupe_key is not None:
        values.text("dedupe_key", dedupe_key, min_length=1)
    created = now()
    return {
        "id": new_id("job"),
        "tenant": principal.tenant,
        "user": principal.user,
        "kind": kind,
        "payload": payload,
        "status": "queued",
        "attempts": 0,
        "max_attempts": max_attempts,
        "run_after": created + delay_s,
        "done": 0,
        "total": 0,
        "message": "",
        "dedupe_key": dedupe_key,
        "lane": rows.lane_of(principal, kind),
        "group_key": group[0] if group else None,
        "group_item": group[1] if group else None,
        "created_at": created,
    }


def _insert(connection: Connection, row: Json) -> None:
    _keep_order(connection, row)
    connection.execute(jobs.insert().values(row))


def _keep_order(connection: Connection, row: Json) -> None:
    """Makes rows of one group visible in the order of their numbers, on which `claimable` relies."""
    if row["group_key"] is not None:
        lock_out(connection, "group", row["group_key"])


async def _insert_unless_twin(connection: AsyncConnection, row: Json) -> Job:
    """Adds the job, or returns the unfinished one with the same dedupe key."""
    same = and_(*(jobs.c[name] == row[name] for name in ("tenant", "kind", "dedupe_key")), UNFINISHED)
    while True:
        if (twin := await rows.first(connection, same)) is not None:
            return twin
        with suppress(IntegrityError):  # another process was faster; its job may have ended by now
            async with connection.begin_nested():
                await connection.execute(jobs.insert().values(row))
            return await rows.one(connection, jobs.c.id == row["id"])
