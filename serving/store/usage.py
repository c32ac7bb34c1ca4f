"""Usage: requests, tokens and their cost by tenant, user, key, model and day."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.relational.database import Database
from serving.store.relational.rows import Page
from serving.store.relational.tables import tenants, usage

SHARDS = 8
"""Rows per counter: PostgreSQL lets one transaction at a time change a row."""

ERASED = "(erased)"
"""The user of erased users' usage: the tenant's sums stay. No user can have this name."""

_ERASED_KEY = "erased"

By = Literal["user", "key", "model", "day"]

_COLUMN = {"user": usage.c.user, "key": usage.c.key_id, "model": usage.c.model, "day": usage.c.day}
_SUMS = ("requests", "prompt_tokens", "completion_tokens", "cost")


@dataclass(frozen=True, slots=True)
class Whose:
    """The key of a counter; `currency` is empty if the cost is unknown."""

    tenant: str
    day: str
    user: str
    key_id: str
    model: str
    currency: str


@dataclass(frozen=True, slots=True)
class Used:
    """Counts; `cost` is in billionths of the currency."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: int = 0

    def __add__(self, other: Used) -> Used:
        return Used(*(getattr(self, name) + getattr(other, name) for name in _SUMS))


@dataclass(frozen=True, slots=True)
class UsageOf:
    """Usage of one user, key, model or day, with the cost in each currency."""

    id: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: dict[str, int]


class Usage:
    """The counters of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def add(self, counted: Sequence[tuple[Whose, Used]]) -> None:
        """Adds to the counters, all or nothing."""
        await self._database.group_commit(lambda connection: count(connection, counted))

    @uninterrupted
    async def list_usage(
        self,
        principal: Principal,
        *,
        by: By,
        first_day: str,
        last_day: str,
        user: str | None = None,
        model: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> Page[UsageOf]:
        """Returns the usage of the principal's tenant between two days, ordered by id.

        Days have the form `2026-01-31`. `user` and `model` select the usage of one user and of one model.
        """
        column = _COLUMN[by]
        within = [usage.c.tenant == principal.tenant, usage.c.day.between(first_day, last_day)]
        if user is not None:
            within.append(usage.c.user == values.text("user", user))
        if model is not None:
            within.append(usage.c.model == values.text("model", model))
        if after is not None:
            within.append(column > values.text("after", after))
        ids = select(column).where(*within).distinct().order_by(column).limit(limit + 1)
        sums = [func.sum(usage.c[name]).label(name) for name in _SUMS]

        def work(connection: Connection) -> Page[UsageOf]:
            found = list(connection.execute(ids).scalars())
            shown = found[:limit]
            query = select(column.label("id"), usage.c.currency, *sums).where(*within, column.in_(shown))
            made: dict[str, UsageOf] = {id: UsageOf(id, 0, 0, 0, {}) for id in shown}
            for row in connection.execute(query.group_by(column, usage.c.currency)):
                earlier = made[row.id]
                cost = {**earlier.cost, row.currency: int(row.cost)} if row.currency else earlier.cost
                made[row.id] = UsageOf(
                    row.id,
                    earlier.requests + int(row.requests),
                    earlier.prompt_tokens + int(row.prompt_tokens),
                    earlier.completion_tokens + int(row.completion_tokens),
                    cost,
                )
            return Page(list(made.values()), len(found) > limit)

        return await self._database.query(work)

    @uninterrupted
    async def cost_of_tenants(self, *, first_day: str, last_day: str) -> dict[tuple[str, str], int]:
        """Returns the cost between two days by tenant and currency, in billionths of the currency."""
        query = costs_between(first_day, last_day)

        def work(connection: Connection) -> dict[tuple[str, str], int]:
            return {(row.tenant, row.currency): int(row.cost) for row in connection.execute(query)}

        return await self._database.query(work)


def costs_between(first_day: str, last_day: str) -> Select[Any]:
    """Returns a query for the cost between two days by tenant and currency.

    It goes by way of the tenants: the key of counters begins with the tenant, so that only these days are read.
    """
    return (
        select(usage.c.tenant, usage.c.currency, func.sum(usage.c.cost).label("cost"))
        .where(usage.c.tenant.in_(select(tenants.c.id)), usage.c.day.between(first_day, last_day))
        .where(usage.c.currency != "")
        .group_by(usage.c.tenant, usage.c.currency)
    )


def count(connection: Connection, counted: Sequence[tuple[Whose, Used]]) -> None:
    """Adds to counters within a transaction."""
    shard = secrets.randbelow(SHARDS)
    insert = _UPSERT[connection.dialect.name == "postgresql"]
    rows = [
        {name: getattr(whose, name) for name in Whose.__slots__}
        | {name: getattr(used, name) for name in _SUMS}
        | {"shard": shard}
        for whose, used in sorted(counted, key=lambda pair: repr(pair[0]))  # in one order, to prevent deadlocks
    ]
    if rows:
        connection.execute(insert, rows)


def fold(connection: Connection, tenant: str, user: str) -> None:
    """Removes a user's name and keys from the counters, within a transaction: the tenant's sums stay."""
    mine = usage.delete().where(usage.c.tenant == tenant, usage.c.user == user).returning(usage)
    removed = connection.execute(mine).all()
    count(
        connection,
        [
            (
                Whose(tenant, row.day, ERASED, _ERASED_KEY, row.model, row.currency),
                Used(*(getattr(row, name) for name in _SUMS)),
            )
            for row in removed
        ],
    )


def _upsert(dialect: Any) -> Any:
    insert = dialect.insert(usage)
    added = {name: usage.c[name] + insert.excluded[name] for name in _SUMS}
    return insert.on_conflict_do_update(index_elements=list(usage.primary_key.columns), set_=added)


_UPSERT = (_upsert(sqlite), _upsert(postgresql))  # compiled once: see conversations.py
