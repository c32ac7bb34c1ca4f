"""A job: its row as a value, and the conditions for reading, claiming and writing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, case, false, func, or_, select, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.store.errors import LeaseLost, NotFound
from serving.store.relational.postgres import lock
from serving.store.relational.prepared import Prepared
from serving.store.relational.rows import build
from serving.store.relational.tables import RUNNING, UNFINISHED, jobs, meta

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
Json = dict[str, Any]

SERVER_ERROR = "server_error"
MAX_ERROR = 2000  # maximum length of a stored error message

ERASE = "erase_user"
"""Job kind: payload {"user", "subject", "dry_run"}; result {"counts"}: the number of rows of each class."""

COMPACT = "compact_database"
"""Job kind: payload {}."""

ERASURE = "erasure"
"""The lane of erasures, and of all jobs that they enqueue, which have their own workers. The other lane is ""."""


@dataclass(frozen=True, slots=True)
class Job:
    """One background job. `attempts` counts claims; times are unix seconds."""

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
    def can_be_cancelled(self) -> bool:
        """Whether a cancellation would change it."""
        return self.finished_at is None and not self.cancel_requested

    @property
    def principal(self) -> Principal:
        """The principal for whom the job runs."""
        return Principal(tenant=self.tenant, user=self.user, key_id=self.id)


OnEnd = Callable[[AsyncConnection, Job], Awaitable[None]]
"""Called in the transaction that ends a job, whoever ends it and however."""


def owned(principal: Principal, id: str) -> ColumnElement[bool]:
    return and_(jobs.c.id == id, jobs.c.tenant == principal.tenant)


def is_leased(job: Job) -> ColumnElement[bool]:
    """Returns the fencing condition: true while nobody else has claimed, ended or released the job."""
    return and_(jobs.c.id == job.id, jobs.c.status == "running", jobs.c.lease_owner == job.lease_owner)


async def hold(connection: AsyncConnection, job: Job) -> Job:
    try:
        return await one(connection, is_leased(job), lock=True)
    except NotFound:
        raise LeaseLost(f"{job.id} is no longer held by this worker") from None


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


def claimable(
    kinds: Sequence[str],
    at: float | BindParameter[Any],
    *,
    lane: str | None = None,
    tenant: str | None = None,
    without: Collection[str] = (),
) -> Select[Any]:
    """Returns the condition for the oldest job that is due, or whose lease expired, and that waits for no earlier one
    of its group.

    Optionally of one `lane` and one `tenant`, or of none of the tenants `without`.
    """
    earlier = jobs.alias("earlier")
    blocked = (
        select(earlier.c.seq)
        .where(
            earlier.c.group_key == jobs.c.group_key,
            earlier.c.seq < jobs.c.seq,
            text(f"earlier.{UNFINISHED}"),  # literal, since the partial index would not be used otherwise
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
    of: list[ColumnElement[bool]] = [or_(false(), *(jobs.c.kind == kind for kind in kinds))]
    if lane is not None:
        of.append(jobs.c.lane == lane)
    if tenant is not None:
        of.append(jobs.c.tenant == tenant)
    of += [jobs.c.tenant != each for each in sorted(without)]
    return select(jobs).where(UNFINISHED, *of, or_(due, expired), ~blocked).order_by(jobs.c.seq).limit(1)


@lru_cache(64)
def any_claimable(kinds: tuple[str, ...], lane: str | None, without: frozenset[str] = frozenset()) -> Prepared:
    """Returns a query with one row if a job is `claimable` at the given `at`, and none otherwise.

    It is compiled once, since idle workers repeat it.
    """
    at = bindparam("at", type_=jobs.c.run_after.type)
    return Prepared(claimable(kinds, at, lane=lane, without=without).with_only_columns(jobs.c.seq))


def _tenants() -> Select[Any]:
    """Returns the tenants with unfinished jobs, ordered by name: one step in an index per tenant."""
    first = select(func.min(jobs.c.tenant).label("tenant")).where(UNFINISHED).cte("waiting", recursive=True)
    after = jobs.alias("after")
    # Literal, since the partial index would not be used otherwise.
    following = select(func.min(after.c.tenant)).where(text(f"after.{UNFINISHED}"), after.c.tenant > first.c.tenant)
    waiting = first.union_all(select(following.scalar_subquery()).where(first.c.tenant.is_not(None)))
    return select(waiting.c.tenant).where(waiting.c.tenant.is_not(None))


_TENANTS = _tenants()


async def turns(
    connection: AsyncConnection, kinds: Sequence[str], lane: str | None, after: str, at: float
) -> list[str]:
    """Returns the tenants with unfinished jobs in the order in which they are served.

    Tenants with the fewest running jobs come first, and among these, in round-robin order of names, those after
    `after`: each tenant is served before any is served again, however many jobs wait.
    """
    waiting = (await connection.execute(_TENANTS)).scalars().all()
    running: list[ColumnElement[bool]] = [jobs.c.kind.in_(list(kinds)), jobs.c.lease_until > at]
    if lane is not None:
        running.append(jobs.c.lane == lane)
    count = select(jobs.c.tenant, func.count().label("number")).where(RUNNING, *running).group_by(jobs.c.tenant)
    busy = {row.tenant: row.number for row in await connection.execute(count)}
    return sorted(waiting, key=lambda tenant: (busy.get(tenant, 0), tenant <= after, tenant))


async def next_claimable(
    connection: AsyncConnection, kinds: Sequence[str], lane: str | None, without: Collection[str], at: float
) -> Job | None:
    """Returns the job to claim, of none of the tenants `without`, and records which tenant was served."""
    turn = f"turn/{lane if lane is not None else '*'}/{min(kinds)}"[:64]
    await lock(connection, turn)  # two concurrent claims would serve the same tenant
    after = (await connection.execute(select(meta.c.value).where(meta.c.key == turn))).scalar()
    for tenant in await turns(connection, kinds, lane, after or "", at):
        query = claimable(kinds, at, lane=lane, tenant=tenant, without=without).with_for_update(skip_locked=True)
        if (row := (await connection.execute(query)).mappings().first()) is not None:
            if tenant != after:
                await connection.execute(meta.delete().where(meta.c.key == turn))
                await connection.execute(meta.insert().values(key=turn, value=tenant))
            return build(Job, row)
    return None


async def requeue(connection: AsyncConnection, job: Job, **changes: object) -> Job:
    await connection.execute(
        jobs.update().where(jobs.c.id == job.id).values(status="queued", lease_owner=None, lease_until=None, **changes)
    )
    return await one(connection, jobs.c.id == job.id)


async def cancel_all(connection: AsyncConnection, principal: Principal, ids: Sequence[str]) -> Sequence[str]:
    """Cancels jobs as `Jobs.cancel` does, and returns the queued ones, which end immediately: `on_end` is
    not called.
    """
    mine = and_(jobs.c.tenant == principal.tenant, jobs.c.id.in_(ids))
    queued = select(jobs.c.id).where(mine, jobs.c.status == "queued").order_by(jobs.c.id).with_for_update()
    ended = (await connection.execute(queued)).scalars().all()
    changes = {"status": "cancelled", "finished_at": now()}
    await connection.execute(jobs.update().where(jobs.c.id.in_(ended)).values(changes))
    asked = {"cancel_requested": True, "dedupe_key": None}
    await connection.execute(jobs.update().where(mine, jobs.c.status == "running").values(asked))
    return ended


def lane_of(principal: Principal, kind: str) -> Any:
    """Returns the lane of a job, or the query for it: jobs that an erasure enqueues belong to its lane."""
    if kind in (ERASE, COMPACT):
        return ERASURE
    if not principal.user.startswith("job_") or not principal.key_id.startswith("job_"):  # no caller has such a key
        return ""
    asked = jobs.alias("asked")
    of = asked.c.id == principal.user, asked.c.tenant == principal.tenant, asked.c.kind == ERASE
    return case((select(asked.c.id).where(*of, asked.c.status == "running").exists(), ERASURE), else_="")
