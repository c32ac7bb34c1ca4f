"""Conversion of rows to values, and pagination."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Literal, TypeVar, cast

from sqlalchemy import ColumnElement, Select, Table, and_, func, or_, select, true
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.principal import Principal
from serving.store.errors import InvalidValue, TooMany

Order = Literal["asc", "desc"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; `has_more` tells whether another follows its last item."""

    items: list[T]
    has_more: bool


def build(kind: type[T], row: RowMapping, **extra: object) -> T:
    """Creates dataclass `kind` from the columns of the same names."""
    return kind(**{name: row[name] for name in _names(cast(Hashable, kind)) if name not in extra}, **extra)


def build_page(kind: type[T], rows: Page[RowMapping]) -> Page[T]:
    """Creates dataclass `kind` from each row of a page."""
    return Page([build(kind, row) for row in rows.items], rows.has_more)


async def require_room(
    connection: AsyncConnection, table: Table, tenant: str, most: int, what: str, *where: ColumnElement[bool]
) -> None:
    """Raises `TooMany` if a tenant has `most` rows of a table, or of those `where` conditions hold; those of concurrent
    transactions are not counted.
    """
    count = select(func.count()).select_from(table).where(table.c.tenant == tenant, *where)
    if (await connection.execute(count)).scalar_one() >= most:
        raise TooMany(f"the tenant has {most} {what}, and can have no more")


@functools.cache  # cached: a tuple per table
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in fields(kind))


def part(
    items: Sequence[dict[str, Any]], *, after: str | None, limit: int, max_limit: int, order: Order
) -> Page[dict[str, Any]]:
    """Like `page`, for objects inside one row, oldest first, each with its `id`."""
    _check(limit, max_limit, order)
    ordered = items if order == "asc" else items[::-1]
    if after is not None:
        place = next((n for n, item in enumerate(ordered, 1) if item["id"] == after), None)
        if place is None:
            raise InvalidValue("after", "there is no such object")
        ordered = ordered[place:]
    return Page(list(ordered[:limit]), len(ordered) > limit)


def _check(limit: int, max_limit: int, order: Order) -> None:
    if not 1 <= limit <= max_limit:
        raise InvalidValue("limit", f"must be from 1 to {max_limit}")
    if order not in ("asc", "desc"):
        raise InvalidValue("order", "must be 'asc' or 'desc'")


async def page(
    connection: AsyncConnection,
    query: Select[Any],
    table: Table,
    principal: Principal | None,
    *,
    after: str | None,
    limit: int,
    max_limit: int,
    order: Order,
    id_column: str = "id",
    order_column: str = "created_at",
    within: ColumnElement[bool] | None = None,
) -> Page[RowMapping]:
    """Runs `query` on the tenant's rows of `table`, sorted by `order_column`, starting after the row `after`.

    Without a principal, on the rows of all tenants, which only the platform may see. `within` restricts the rows to one
    parent's, if ids are unique only there.
    """
    _check(limit, max_limit, order)
    at, id = table.c[order_column], table.c[id_column]
    mine = table.c.tenant == principal.tenant if principal is not None else true()
    if within is not None:
        mine = and_(mine, within)
    query = query.where(mine)
    if after is not None:
        found = (await connection.execute(select(at).where(id == after, mine))).scalar()
        if found is None:
            raise InvalidValue("after", "there is no such object")
        ahead, behind = (at > found, id > after) if order == "asc" else (at < found, id < after)
        query = query.where(or_(ahead, and_(at == found, behind)))
    by = (at, id) if order == "asc" else (at.desc(), id.desc())
    rows = (await connection.execute(query.order_by(*by).limit(limit + 1))).mappings().all()
    return Page(list(rows[:limit]), len(rows) > limit)
