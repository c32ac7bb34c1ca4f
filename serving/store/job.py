"""One job: its row as a value, and the conditions under which it may be seen, claimed and written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, or_, select, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.security.principal import Principal
from serving.store.errors import Lost, NotFound
from serving.store.models import UNFINISHED, jobs
from serving.store.rows import build

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Json = dict[str, Any]

SERVER_ERROR = "server_error"
MAX_ERROR = 2000  # characters kept of an error message


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of background work. `attempts` counts claims; times are unix seconds."""

    id: str
    tenant: str
    user: str
    kind: str
    payload: Json
    status: Status
    attempts: int
    max_attempts: int
    run_after: float
    lease_owner: str | None
    lease_until: float | None
    cancel_requested: bool
    done: int
    total: int
    message: str
    result: Json | None
    error_code: str | None
    error_message: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def principal(self) -> Principal:
        """Who the work is done for."""
        return Principal(tenant=self.tenant, user=self.user, key_id=self.id)


OnEnd = Callable[[AsyncConnection, Job], Awaitable[None]]
"""Called in the transaction that ends a job, whoever ends it and however."""


def owned(principal: Principal, id: str) -> ColumnElement[bool]:
    return and_(jobs.c.id == id, jobs.c.tenant == principal.tenant)


def held(job: Job) -> ColumnElement[bool]:
    """The fence: true while nobody else claimed, ended or released the job."""
    return and_(jobs.c.id == job.id, jobs.c.status == "running", jobs.c.lease_owner == job.lease_owner)


async def hold(connection: AsyncConnection, job: Job) -> Job:
    try:
        return await one(connection, held(job), lock=True)
    except NotFound:
        raise Lost(f"{job.id} is no longer ours") from None


async def first(connection: AsyncConnection, where: ColumnElement[bool], lock: bool = False) -> Job | None:
    query = select(jobs).where(where)
    if lock:
        query = query.with_for_update()
    row: RowMapping | None = (await connection.execute(query)).mappings().first()
    return build(Job, row) if row is not None else None


async def one(connection: AsyncConnection, where: ColumnElement[bool], id: str = "", *, lock: bool = False) -> Job:
    job = await first(connection, where, lock)
    if job is None:
        raise NotFound("job", id)
    return job


def claimable(kinds: Sequence[str], at: float) -> Select[Any]:
    """The oldest job that is due, or whose lease ran out, and that waits for no earlier one of its group."""
    earlier = jobs.alias("earlier")
    blocked = (
        select(earlier.c.seq)
        .where(
            earlier.c.group_key == jobs.c.group_key,
            earlier.c.seq < jobs.c.seq,
            text(f"earlier.{UNFINISHED}"),  # literal, or the partial index stays unused
            or_(
                earlier.c.group_item == jobs.c.group_item,
                earlier.c.group_item.is_(None),
                jobs.c.group_item.is_(None),
            ),
        )
        .exists()
    )
    due = and_(jobs.c.status == "queued", jobs.c.run_after <= at)
    expired = and_(jobs.c.status == "running", jobs.c.lease_until <= at)
    return (
        select(jobs)
        .where(UNFINISHED, jobs.c.kind.in_(list(kinds)), or_(due, expired), ~blocked)
        .order_by(jobs.c.seq)
        .limit(1)
    )


async def requeue(connection: AsyncConnection, job: Job, **changes: object) -> Job:
    await connection.execute(
        jobs.update().where(jobs.c.id == job.id).values(status="queued", lease_owner=None, lease_until=None, **changes)
    )
    return await one(connection, jobs.c.id == job.id)
