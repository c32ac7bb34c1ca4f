"""Stored quotas, and the shares of each window that gateways hold. `serving.metering` enforces them.

Shares never exceed the limit. A window's `taken` can exceed it by usage beyond a reservation, and for minute quotas by
what was allowed while this store was unavailable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Table, case, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from serving.config import Subject
from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.quotas.quota import Quota, QuotaExceeded
from serving.quotas.share import PART, Posting, Standing, Want
from serving.quotas.windows import bounds
from serving.store import values
from serving.store.errors import Conflict, NotFound, PlatformOnly
from serving.store.relational.counted_bytes import bytes_beside_files, queued_tokens
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock, lock_out
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import (
    files,
    hub_datasets,
    hub_versions,
    meta,
    quota_streams,
    quota_windows,
    quotas,
    vector_store_files,
    vector_stores,
)

MAX_PAGE = 100
MOST = 10_000
"""Maximum number of quotas of one tenant that it sets, and likewise that the platform sets: every gateway has all of
them in memory.
"""

LEASE_S = 15.0
"""How long a gateway that died holds its streams."""

KEPT_S = 7 * 86_400.0
"""How long a window is kept after its end."""

_REVISION = "quotas"  # of all quotas, in `meta`: gateways read the quotas again when it changes


@dataclass(frozen=True, slots=True)
class Granted:
    """Granted units, and the state of the window afterwards."""

    units: int
    standing: Standing


@dataclass(frozen=True, slots=True)
class QuotaRefused:
    """The quota with too little left whose window ends last; nothing was granted of any."""

    quota_id: str
    standing: Standing


class QuotaStore:
    """The quotas of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def put(self, principal: Principal, given: Sequence[Quota]) -> None:
        """Sets quotas of the principal's tenant, all or none.

        Raises `Conflict` when the tenant has too many, and `PlatformOnly` for one of the platform's unless the
        principal is the platform's too.
        """
        for each in given:
            values.text("id", each.subject_id, min_length=1)
            if each.set_by != "tenant" and "platform" not in principal.scopes:
                raise PlatformOnly("quota")
        async with self._database.write() as connection:
            await lock(connection, _REVISION)
            for each in given:
                row = {name: getattr(each, name) for name in Quota.__slots__} | {
                    "tenant": principal.tenant,
                    "created_at": now(),
                }
                insert = _dialect(connection.dialect.name).insert(quotas).values(row)
                await connection.execute(
                    insert.on_conflict_do_update(index_elements=["id"], set_={"limit": row["limit"]})
                )
            # Otherwise a tenant could prevent the platform from setting any.
            for set_by in {each.set_by for each in given}:
                mine = quotas.c.tenant == principal.tenant, quotas.c.set_by == set_by
                count = select(func.count()).select_from(quotas).where(*mine)
                if (await connection.execute(count)).scalar_one() > MOST:
                    raise Conflict(f"a {set_by} sets at most {MOST} quotas of a tenant")
            await connection.run_sync(_revise)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Removes a quota, so that the default applies if there is one.

        Raises `NotFound`, and `PlatformOnly` if it is the platform's and the principal is not.
        """
        async with self._database.write() as connection:
            await lock(connection, _REVISION)
            mine = (quotas.c.id == id, quotas.c.tenant == principal.tenant)
            set_by = (await connection.execute(select(quotas.c.set_by).where(*mine))).scalar()
            if set_by is None:
                raise NotFound("quota", id)
            if set_by != "tenant" and "platform" not in principal.scopes:
                raise PlatformOnly("quota")
            await connection.execute(quotas.delete().where(*mine))
            await connection.run_sync(_revise)

    @uninterrupted
    async def list_quotas(
        self,
        principal: Principal,
        *,
        subject: Subject | None = None,
        subject_id: str | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[Quota]:
        """Returns quotas of the principal's tenant, optionally those of one kind of subject or one subject."""
        query = select(quotas)
        if subject is not None:
            query = query.where(quotas.c.subject == subject)
        if subject_id is not None:
            query = query.where(quotas.c.subject_id == values.text("id", subject_id))
        async with self._database.read() as connection:
            found = await page(
                connection, query, quotas, principal, after=after, limit=limit, max_limit=MAX_PAGE, order=order
            )
        return build_page(Quota, found)

    @uninterrupted
    async def revision(self) -> int:
        """Returns a number that changes with every change of a quota."""
        return await self._database.query(_revision)

    @uninterrupted
    async def all(self) -> tuple[int, list[Quota]]:
        """Returns the quotas of all tenants, with their revision."""

        def work(connection: Connection) -> tuple[int, list[Quota]]:
            rows = connection.execute(select(quotas)).mappings()
            return _revision(connection), [build(Quota, row) for row in rows]

        return await self._database.query(work)

    @uninterrupted
    async def standings(self, windows: Iterable[tuple[str, int]]) -> dict[str, Standing]:
        """Returns the state of windows, by the ids of their quotas."""
        wanted = dict(windows)
        query = select(quota_windows).where(quota_windows.c.quota_id.in_(list(wanted)))

        def work(connection: Connection) -> dict[str, Standing]:
            rows = connection.execute(query).all()
            return {row.quota_id: Standing(row.taken, row.used) for row in rows if row.start == wanted[row.quota_id]}

        return await self._database.query(work)

    @uninterrupted
    async def stored_bytes(self, given: Iterable[Quota]) -> dict[str, Standing]:
        """Returns the stored bytes of each quota of that measure, by the quotas' ids."""
        of = [each for each in given if each.window == "total"]
        if not of:
            return {}
        return await self._database.query(
            lambda connection: {each.id: Standing(n, n) for each in of for n in [total_stored(connection, each)]}
        )

    @uninterrupted
    async def require(self, needs: Sequence[tuple[Quota, int]], at: float) -> None:
        """Raises `QuotaExceeded` if a `meter` would now: a rejected upload need not be received."""

        def work(connection: Connection) -> None:
            for quota, units in needs:
                start, end = bounds(quota.window, at)
                _require(quota, _query_standing(connection, quota, start, at), units, end - at)

        if needs:
            await self._database.query(work)

    @uninterrupted
    async def take(self, gateway: str, wants: Sequence[Want], at: float) -> list[Granted] | QuotaRefused:
        """Grants units of each window to a gateway, or of none. The order of `wants` is that of their quotas' ids.

        If little is left, less is granted than wanted, but at least what is needed.
        """

        def work(connection: Connection) -> list[Granted] | QuotaRefused:
            found, refused = [], list[tuple[float, QuotaRefused]]()
            for want in wants:
                standing = _standing(connection, want, gateway, at)
                if standing.taken + want.need > want.quota.limit:
                    lasts = want.end if want.quota.window != "concurrent" else at  # a stream may end at once
                    refused.append((lasts, QuotaRefused(want.quota.id, standing)))
                    continue
                units = max(want.need, min(want.most, (want.quota.limit - standing.taken) // PART))
                found.append(Granted(units, Standing(standing.taken + units, standing.used)))
            if refused:
                return max(refused, key=lambda each: each[0])[1]
            for want, granted in zip(wants, found, strict=True):
                _add(connection, want.quota, want.start, want.end, gateway, at, taken=granted.units, used=0)
            return found

        return await self._database.group_commit(work)

    @uninterrupted
    async def post(self, gateway: str, postings: Sequence[Posting], at: float) -> list[Standing]:
        """Takes back unused units and records usage; renews the gateway's leases. Returns the state of the windows."""
        ordered = sorted(postings, key=lambda each: each.quota.id)

        def work(connection: Connection) -> dict[tuple[str, int], Standing]:
            mine = quota_streams.c.gateway == gateway
            connection.execute(quota_streams.update().where(mine).values(lease_until=at + LEASE_S))
            stand = {}
            for each in ordered:
                _add(connection, each.quota, each.start, each.end, gateway, at, taken=-each.back, used=each.used)
                stand[each.quota.id, each.start] = _query_standing(connection, each.quota, each.start, at)
            return stand

        stand = await self._database.group_commit(work)
        return [stand[each.quota.id, each.start] for each in postings]

    @uninterrupted
    async def prune(self, at: float) -> int:
        """Removes windows that ended long ago, and shares of gateways that are gone. Returns their number."""
        async with self._database.write() as connection:
            old = delete(quota_windows).where(quota_windows.c.ends_at < at - KEPT_S)
            gone = delete(quota_streams).where(quota_streams.c.lease_until < at - KEPT_S)
            return (await connection.execute(old)).rowcount + (await connection.execute(gone)).rowcount


Meter = Callable[[Connection], None]
"""Counts stored amounts in the transaction that stores them. Raises `QuotaExceeded`: then nothing is stored."""


def meter(needs: Sequence[tuple[Quota, int]], at: float) -> Meter:
    """Returns a meter of quotas, in the order of the quotas' ids."""

    def use(connection: Connection) -> None:
        for quota, units in needs:
            start, end = bounds(quota.window, at)
            standing = _standing(connection, Want(quota, start, end, units, units), "", at)
            _require(quota, standing, units, end - at)
            if quota.window != "total":
                _add(connection, quota, start, end, "", at, taken=units, used=units)

    return use


def queue_meter(needs: Sequence[tuple[Quota, int]], at: float) -> Meter:
    """Returns a meter of budgets of tokens for work that is queued: they must be enough for all that waits."""

    def require(connection: Connection) -> None:
        for quota, units in needs:
            start, end = bounds(quota.window, at)
            lock_out(connection, "quota", quota.id)
            user = quota.subject_id if quota.subject == "user" else None
            waiting = queued_tokens(connection, quota.tenant, user)
            used = _query_standing(connection, quota, start, at).used  # what runs now is in `waiting`
            _require(quota, Standing(used + waiting, used), units, end - at)

    return require


def _require(quota: Quota, standing: Standing, units: int, ends_in_s: float) -> None:
    if standing.taken + units > quota.limit:
        raise QuotaExceeded(quota, max(ends_in_s, 1.0) if quota.window != "total" else None, spent=True)


def total_stored(connection: Connection, quota: Quota) -> int:
    """Returns the stored bytes of a quota's subject: of its files, its vector stores, and what it keeps in the hub.

    The index size of a file whose text is not read yet is unknown: it counts as the file's size.
    """
    row = vector_store_files.c
    unread = (row.status == "in_progress") & (func.coalesce(files.c.bytes, 0) > row.usage_bytes)
    kept = case((unread, func.coalesce(files.c.bytes, 0)), else_=row.usage_bytes)
    queries = [
        select(func.coalesce(func.sum(files.c.bytes), 0)).where(*_owner_condition(files, quota)),
        select(func.coalesce(func.sum(kept), 0))
        .select_from(vector_store_files)
        .join(vector_stores, vector_stores.c.id == row.vector_store_id)
        .outerjoin(files, files.c.id == row.file_id)
        .where(*_owner_condition(vector_stores, quota)),
        *(
            select(func.coalesce(func.sum(table.c.bytes), 0)).where(*_owner_condition(table, quota, "created_by"))
            for table in (hub_versions, hub_datasets)
        ),
    ]
    user = quota.subject_id if quota.subject == "user" else None
    beside = bytes_beside_files(connection, quota.tenant, user)  # and what is not in files
    return sum((int(connection.execute(query).scalar_one()) for query in queries), beside)


def _owner_condition(table: Table, quota: Quota, owner: str = "user") -> list[ColumnElement[bool]]:
    mine = [table.c.tenant == quota.tenant]
    return [*mine, table.c[owner] == quota.subject_id] if quota.subject == "user" else mine


def _dialect(name: str) -> Any:
    return postgresql if name == "postgresql" else sqlite


def _insert(connection: Connection, table: Table) -> Any:
    return _dialect(connection.dialect.name).insert(table)


def remove(connection: Connection, where: ColumnElement[bool]) -> None:
    """Removes quotas with their windows, within a transaction."""
    ids = connection.execute(select(quotas.c.id).where(where)).scalars().all()
    for table, column in ((quota_windows, "quota_id"), (quota_streams, "quota_id"), (quotas, "id")):
        connection.execute(table.delete().where(table.c[column].in_(ids)))
    if ids:
        _revise(connection)


def _revision(connection: Connection) -> int:
    return int(connection.execute(select(meta.c.value).where(meta.c.key == _REVISION)).scalar() or 0)


def _revise(connection: Connection) -> None:
    value = str(_revision(connection) + 1)
    insert = _insert(connection, meta).values(key=_REVISION, value=value)
    connection.execute(insert.on_conflict_do_update(index_elements=["key"], set_={"value": value}))


def _standing(connection: Connection, want: Want, gateway: str, at: float) -> Standing:
    """Returns the state of a window, and locks it until the end of the transaction."""
    if want.quota.window in ("concurrent", "total"):
        lock_out(connection, "quota", want.quota.id)
    else:
        query = select(quota_windows).where(
            quota_windows.c.quota_id == want.quota.id, quota_windows.c.start == want.start
        )
        for _ in range(2):
            row = connection.execute(query.with_for_update()).first()
            if row is not None:
                return Standing(row.taken, row.used)
            new = _window(want.quota, want.start, want.end)
            connection.execute(_insert(connection, quota_windows).values(new).on_conflict_do_nothing())
    return _query_standing(connection, want.quota, want.start, at)


def _query_standing(connection: Connection, quota: Quota, start: int, at: float) -> Standing:
    if quota.window == "concurrent":
        of = quota_streams.c
        query = select(func.coalesce(func.sum(of.held), 0)).where(of.quota_id == quota.id, of.lease_until >= at)
        held = int(connection.execute(query).scalar_one())
        return Standing(held, 0)
    if quota.window == "total":
        stored = total_stored(connection, quota)
        return Standing(stored, stored)
    of = quota_windows.c
    row = connection.execute(select(of.taken, of.used).where(of.quota_id == quota.id, of.start == start)).first()
    return Standing(row.taken, row.used) if row is not None else Standing(0, 0)


def _window(quota: Quota, start: int, end: float) -> dict[str, Any]:
    key = {"quota_id": quota.id, "start": start, "tenant": quota.tenant}
    return {**key, "taken": 0, "used": 0, "ends_at": end}


def _add(
    connection: Connection,
    quota: Quota,
    start: int,
    end: float,
    gateway: str,
    at: float,
    *,
    taken: int,
    used: int,
) -> None:
    if quota.window == "concurrent":
        row = {"quota_id": quota.id, "gateway": gateway, "tenant": quota.tenant, "held": taken}
        insert = _insert(connection, quota_streams).values({**row, "lease_until": at + LEASE_S})
        changed = {"held": quota_streams.c.held + taken, "lease_until": at + LEASE_S}
        connection.execute(insert.on_conflict_do_update(index_elements=["quota_id", "gateway"], set_=changed))
        return
    of = quota_windows.c
    insert = _insert(connection, quota_windows).values({**_window(quota, start, end), "taken": taken, "used": used})
    changed = {"taken": of.taken + taken, "used": of.used + used}
    connection.execute(insert.on_conflict_do_update(index_elements=["quota_id", "start"], set_=changed))
