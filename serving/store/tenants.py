"""Tenants: the teams that share a stack, without access to each other's data."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError

from serving.core.ids import now
from serving.core.principal import STACK
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.errors import Conflict, InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import tenants

ID = r"^[a-z][a-z0-9-]{0,62}$"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant; `name` is for display. Keys of a disabled tenant are rejected."""

    id: str
    name: str
    created_at: float
    disabled_at: float | None


class Tenants:
    """All tenants. Only the platform may see others than its own, which callers of this class have checked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def create(self, id: str, *, name: str = "") -> Tenant:
        """Creates a tenant; raises `Conflict` if the id exists."""
        if not re.fullmatch(ID, id):
            raise InvalidValue("id", "must be a letter a-z and up to 62 of a-z 0-9 -")
        row = {"id": id, "name": values.text("name", name) or id, "created_at": now()}
        try:
            async with self._database.write() as connection:
                await connection.execute(tenants.insert().values(row))
        except IntegrityError:
            raise Conflict("there is already a tenant with this id") from None
        return await self.get(id)

    @uninterrupted
    async def get(self, id: str) -> Tenant:
        """Returns a tenant; raises `NotFound`."""
        async with self._database.read() as connection:
            row = (await connection.execute(select(tenants).where(tenants.c.id == id))).mappings().first()
        if row is None:
            raise NotFound("tenant", id)
        return build(Tenant, row)

    @uninterrupted
    async def list(
        self, *, name: str | None = None, after: str | None = None, limit: int = 20, order: Order = "desc"
    ) -> Page[Tenant]:
        """Returns the tenants, optionally those with `name` in their id or name, in any case."""
        query = select(tenants)
        if name:
            part = values.text("q", name)
            query = query.where(
                or_(
                    tenants.c.id.icontains(part, autoescape=True),
                    tenants.c.name.icontains(part, autoescape=True),
                )
            )
        async with self._database.read() as connection:
            found = await page(connection, query, tenants, None, after=after, limit=limit, max_limit=100, order=order)
        return build_page(Tenant, found)

    @uninterrupted
    async def update(self, id: str, *, name: str | None = None, disabled: bool | None = None) -> Tenant:
        """Changes the given fields. Raises `NotFound`, and `Conflict` for disabling the tenant of the
        stack's own key.
        """
        if disabled and id == STACK:
            raise Conflict("the tenant of the stack's own key cannot be disabled")
        changes: dict[str, object] = {}
        if name is not None:
            changes["name"] = values.text("name", name, min_length=1)
        async with self._database.write() as connection:
            query = select(tenants.c.disabled_at).where(tenants.c.id == id)
            found = (await connection.execute(query)).first()
            if found is None:
                raise NotFound("tenant", id)
            if disabled is not None and disabled != (found.disabled_at is not None):
                changes["disabled_at"] = now() if disabled else None
            if changes:
                await connection.execute(tenants.update().where(tenants.c.id == id).values(changes))
        return await self.get(id)
