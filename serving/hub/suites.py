"""Stored suites: immutable, and identified by their digest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.hub.evaluation.suite import digest_of
from serving.protocol.suites import Suite
from serving.store.errors import NotFound, TooMany
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import hub_suites

MAX_PAGE = 100

MAX_SUITES = 1000
"""Maximum number of suites of a tenant."""


@dataclass(frozen=True, slots=True)
class StoredSuite:
    """A suite; `content` is that of the request."""

    id: str
    tenant: str
    name: str
    digest: str
    prompts: int
    content: dict[str, Any]
    created_at: float
    created_by: str | None

    @property
    def suite(self) -> Suite:
        """The suite itself."""
        return Suite.model_validate(self.content)


class Suites:
    """The suites of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(self, principal: Principal, suite: Suite) -> StoredSuite:
        """Stores a suite; one of the same name and digest is returned as it is. Raises `TooMany`."""
        digest = digest_of(suite)
        of = hub_suites.c
        mine = of.tenant == principal.tenant
        async with self._database.write() as connection:
            await lock(connection, "hub_suites", principal.tenant)
            there = select(hub_suites).where(mine, of.name == suite.name, of.digest == digest)
            if (row := (await connection.execute(there)).mappings().first()) is not None:
                return build(StoredSuite, row)
            if (await connection.execute(select(func.count()).where(mine))).scalar_one() >= MAX_SUITES:
                raise TooMany(f"the tenant has {MAX_SUITES} suites already")
            new: dict[str, Any] = {
                "id": new_id("suite"),
                "tenant": principal.tenant,
                "name": suite.name,
                "digest": digest,
                "prompts": len(suite.prompts),
                "content": suite.model_dump(mode="json"),
                "created_at": now(),
                "created_by": principal.user,
            }
            await connection.execute(hub_suites.insert().values(new))
        return StoredSuite(**new)

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> StoredSuite:
        """Returns the tenant's suite; raises `NotFound`."""
        async with self._database.read() as connection:
            return await get_suite(connection, principal, id)

    @uninterrupted
    async def list(
        self, principal: Principal, *, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[StoredSuite]:
        """Returns the tenant's suites."""
        async with self._database.read() as connection:
            found = await page(
                connection,
                select(hub_suites),
                hub_suites,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
            )
        return build_page(StoredSuite, found)


async def get_suite(connection: AsyncConnection, principal: Principal, id: str) -> StoredSuite:
    """Like `Suites.get`, in a transaction."""
    query = select(hub_suites).where(hub_suites.c.id == id, hub_suites.c.tenant == principal.tenant)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound("suite", id)
    return build(StoredSuite, row)
