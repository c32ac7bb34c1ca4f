"""Batches: requests in a file that a job answers. Each line has at most one answer, whichever gateway processes it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, case, func, select
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.background.webhooks import announce
from serving.store.errors import Conflict, LeaseLost, NotFound, TooMany
from serving.store.jobs.job import SERVER_ERROR, Job, Json
from serving.store.jobs.queue import Jobs
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.owners import own
from serving.store.relational.pruning import prune_rows
from serving.store.relational.rows import Page, build, page, require_room
from serving.store.relational.tables import batch_lines, batches

BATCH = "batch"
"""Job kind: payload {"batch_id"}."""

ATTEMPTS = 100
"""Number of gateways that may die during one batch: it has many lines, each of which may take long."""

READ_TOGETHER = 200
CHARACTERS_TOGETHER = 4_000_000
"""Bytes of answers that are read at once, or one larger answer: a page of the largest ones would be gigabytes."""

PRUNED_TOGETHER = 100
MAX_PAGE = 100

MAX_OUTPUT = 16 << 30
"""Maximum number of bytes of a batch's answers: 50,000 lines with 300 KB each fit, and one batch does not fill a disk.
"""

MAX_BATCHES = 100_000
"""Maximum number of batches of a tenant, with those that ended and are not deleted by retention."""

MAX_UNFINISHED = 100
"""Maximum number of unfinished batches of a tenant; more are rejected."""

BatchStatus = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]

ENDED: tuple[BatchStatus, ...] = ("failed", "completed", "expired", "cancelled")

Counts = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Batch:
    """OpenAI's batch. `completed` and `failed` count lines by their outcome; `times` are those of its statuses."""

    id: str
    tenant: str
    user: str
    caller: Json
    endpoint: str
    input_file_id: str
    output_file_id: str | None
    error_file_id: str | None
    status: BatchStatus
    errors: Sequence[Json] | None
    times: dict[str, float]
    total: int
    completed: int
    failed: int
    metadata: dict[str, str]
    created_at: float
    expires_at: float

    @property
    def ended(self) -> bool:
        """Whether it has its final state."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class Line:
    """The answer of one line; `body` is JSON."""

    number: int
    request_id: str
    status_code: int
    body: str


class OutputTooLarge(Conflict):
    """A batch has no room for an answer; the message says how much it may have."""


class Batches:
    """The batches of all tenants. Those of a tenant are processed one after the other."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs
        jobs.on_end(BATCH, self._end)

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        *,
        caller: Json,
        endpoint: str,
        input_file_id: str,
        lasts_s: float,
        metadata: Mapping[str, object] | None,
    ) -> Batch:
        """Adds a batch, and the job that answers its lines."""
        at = now()
        row: dict[str, Any] = {
            "id": new_id("batch"),
            "tenant": principal.tenant,
            "user": principal.user,
            "caller": caller,
            "endpoint": endpoint,
            "input_file_id": input_file_id,
            "output_file_id": None,
            "error_file_id": None,
            "status": "validating",
            "errors": None,
            "times": {},
            "total": 0,
            "completed": 0,
            "failed": 0,
            "metadata": values.metadata("metadata", metadata),
            "created_at": at,
            "expires_at": at + lasts_s,
        }
        waiting = select(func.count()).where(batches.c.tenant == principal.tenant, batches.c.status.not_in(ENDED))
        queue = f"batches-{hashlib.sha256(principal.tenant.encode()).hexdigest()[:32]}"
        async with self._database.write() as connection:
            if (await connection.execute(waiting)).scalar_one() >= MAX_UNFINISHED:
                raise TooMany(f"{MAX_UNFINISHED} batches of the tenant are unfinished: wait until some are done")
            await require_room(connection, batches, principal.tenant, MAX_BATCHES, "batches")
            await connection.execute(batches.insert().values(row))
            await self._jobs.enqueue(
                principal,
                BATCH,
                {"batch_id": row["id"]},
                connection=connection,
                group=(queue, None),
                max_attempts=ATTEMPTS,
            )
        return Batch(**row)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> Batch:
        """Returns the user's batch in its current state; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def list(self, principal: Principal, *, after: str | None = None, limit: int = 20) -> Page[Batch]:
        """Returns the user's batches, newest first."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(batches),
                batches,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order="desc",
                within=own(batches, principal),
            )
            counts = await _counts(connection, [row["id"] for row in found.items])
        return Page([_build(row, counts) for row in found.items], found.has_more)

    @uninterrupted
    async def cancel(self, principal: Principal, id: str) -> Batch:
        """Cancels a batch, which keeps the answers that it has; raises `NotFound`, and `Conflict` for one that has
        ended otherwise.
        """
        async with self._database.write() as connection:
            batch = await _get(connection, principal, id, lock=True)
            if batch.status in ("cancelling", "cancelled"):
                return batch
            if batch.ended or batch.status == "finalizing":
                raise Conflict(f"the batch is {batch.status}")
            await _set(connection, batch, "cancelling")
            return await _get(connection, principal, id)

    @uninterrupted
    async def status(self, id: str) -> BatchStatus | None:
        """Returns the status of a batch, None if it was deleted."""
        async with self._database.read() as connection:
            found: BatchStatus | None = (
                await connection.execute(select(batches.c.status).where(batches.c.id == id))
            ).scalar()
        return found

    @uninterrupted
    async def begin(self, batch: Batch, total: int) -> None:
        """Records that the file was read and has `total` lines. No effect on a batch that is cancelled or deleted."""
        async with self._database.write() as connection:
            times = batch.times | {"in_progress": batch.times.get("in_progress", now())}
            changes = {"status": "in_progress", "total": total, "times": times}
            waiting = batches.c.status.in_(("validating", "in_progress"))
            await connection.execute(batches.update().where(batches.c.id == batch.id, waiting).values(changes))

    @uninterrupted
    async def answered(self, id: str) -> set[int]:
        """Returns the numbers of the answered lines."""
        query = select(batch_lines.c.number).where(batch_lines.c.batch_id == id)
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    @uninterrupted
    async def lines(self, id: str, *, after: int) -> Sequence[Line]:
        """Returns the next answered lines, in order: at least one, and as many as fit in memory."""
        of = batch_lines.c
        rest = (of.batch_id == id, of.number > after)
        sizes = select(of.number, func.length(of.body)).where(*rest).order_by(of.number).limit(READ_TOGETHER)
        async with self._database.read() as connection:
            numbers: list[int] = []
            characters = 0
            for number, length in (await connection.execute(sizes)).all():
                characters += length
                if numbers and characters > CHARACTERS_TOGETHER:
                    break
                numbers.append(number)
            if not numbers:
                return []
            query = select(batch_lines).where(*rest, of.number <= numbers[-1]).order_by(of.number)
            return [build(Line, row) for row in (await connection.execute(query)).mappings()]

    @uninterrupted
    async def answer(self, batch: Batch, line: Line, size: int, meter: Meter | None = None) -> None:
        """Like `add_line`, in its own transaction."""
        await self._database.group_commit(lambda connection: add_line(connection, batch, line, size, meter))

    @uninterrupted
    async def finish(
        self,
        batch: Batch,
        status: BatchStatus,
        *,
        output_file_id: str | None,
        error_file_id: str | None,
        errors: Sequence[Json] = (),
    ) -> bool:
        """Ends a batch, whose answers are now in its files. Returns False if it was deleted or has ended before."""
        async with self._database.write() as connection:
            query = select(batches).where(batches.c.id == batch.id, batches.c.status.not_in(ENDED)).with_for_update()
            row = (await connection.execute(query)).mappings().first()
            if row is None:
                return False
            counts = await _settle(connection, batch.id)
            at = now()
            changes = {
                "status": status,
                "output_file_id": output_file_id,
                "error_file_id": error_file_id,
                "errors": list(errors) if errors else None,
                "times": row["times"] | {"finalizing": at, status: at},
            }
            await connection.execute(batches.update().where(batches.c.id == batch.id).values(changes | counts))
            await connection.run_sync(announce, batch.tenant, batch.user, f"batch.{status}", batch.id)
        return True

    @uninterrupted
    async def prune(self, older_than_s: float) -> int:
        """Removes batches of all tenants that ended and are older than that. Returns their number."""
        old = batches.c.created_at < now() - older_than_s
        return await prune_rows(
            self._database, batches, and_(old, batches.c.status.in_(ENDED)), together=PRUNED_TOGETHER
        )

    async def _end(self, connection: AsyncConnection, job: Job) -> None:
        """Ends a batch whose job failed."""
        if job.status != "failed":
            return
        query = select(batches).where(batches.c.id == job.payload["batch_id"], batches.c.status.not_in(ENDED))
        row = (await connection.execute(query.with_for_update())).mappings().first()
        if row is not None:
            known = job.error_code != SERVER_ERROR
            message = job.error_message if known else "The batch failed."
            error = {"code": job.error_code, "message": message, "line": None, "param": None}
            counts = await _settle(connection, row["id"])
            await _set(connection, build(Batch, row), "failed", errors=[error], **counts)
            await connection.run_sync(announce, job.tenant, job.user, "batch.failed", row["id"])


def add_line(connection: Connection, batch: Batch, line: Line, size: int, meter: Meter | None = None) -> None:
    """Stores the answer of a line within a transaction, and counts the bytes that the line will have in an output file.

    Raises `LeaseLost` if it has one or it is no longer wanted, `OutputTooLarge`, and `QuotaExceeded` if `meter` does.
    """
    of = batches.c
    waiting = select(of.answer_bytes).where(of.id == batch.id, of.status.not_in(ENDED)).with_for_update()
    there = select(batch_lines.c.number).where(batch_lines.c.batch_id == batch.id, batch_lines.c.number == line.number)
    before = connection.execute(waiting).scalar()
    if before is None or connection.execute(there).first() is not None:
        raise LeaseLost(batch.id)
    if before + size > MAX_OUTPUT:
        raise OutputTooLarge(f"The answers of a batch have at most {MAX_OUTPUT} bytes.")
    if meter is not None:
        meter(connection)
    connection.execute(batches.update().where(of.id == batch.id).values(answer_bytes=before + size))
    row = {name: getattr(line, name) for name in Line.__slots__}
    connection.execute(batch_lines.insert(), row | {"batch_id": batch.id, "tenant": batch.tenant})


async def _get(connection: AsyncConnection, principal: Principal, id: str, *, lock: bool = False) -> Batch:
    query = select(batches).where(batches.c.id == id, own(batches, principal))
    row = (await connection.execute(query.with_for_update() if lock else query)).mappings().first()
    if row is None:
        raise NotFound("batch", id)
    return _build(row, await _counts(connection, [id]))


def _build(row: Any, counts: Mapping[str, Counts]) -> Batch:
    if row["status"] in ENDED:
        return build(Batch, row)
    completed, failed = counts.get(row["id"], (0, 0))
    return build(Batch, row, completed=completed, failed=failed)


async def _counts(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Counts]:
    """Returns the numbers of successful and failed lines, by batch."""
    of = batch_lines.c
    well = func.sum(case((of.status_code < 400, 1), else_=0))
    query = select(of.batch_id, well, func.count()).where(of.batch_id.in_(ids)).group_by(of.batch_id)
    return {id: (int(good), int(every - good)) for id, good, every in await connection.execute(query)}


async def _settle(connection: AsyncConnection, id: str) -> dict[str, int]:
    """Deletes the lines of a batch that ends, which are in its files or lost; returns the columns that count them."""
    completed, failed = (await _counts(connection, [id])).get(id, (0, 0))
    await connection.execute(batch_lines.delete().where(batch_lines.c.batch_id == id))
    return {"completed": completed, "failed": failed, "answer_bytes": 0}


async def _set(connection: AsyncConnection, batch: Batch, status: BatchStatus, **changes: object) -> None:
    times = batch.times | {status: now()}
    await connection.execute(
        batches.update().where(batches.c.id == batch.id).values(status=status, times=times, **changes)
    )
