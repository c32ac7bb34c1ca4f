"""Used approvals and sign-in codes, so that each works once on any gateway."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database
from serving.store.relational.tables import used_approvals

KEPT_S = 3600.0
"""How long a used approval is stored after its expiry, since clocks of gateways differ."""


class UsedApprovals:
    """The used approvals and sign-in codes of all tenants, by their unique ids."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def among(self, ids: Collection[str]) -> set[str]:
        """Returns those of `ids` that were used."""
        async with self._database.read() as connection:
            query = select(used_approvals.c.id).where(used_approvals.c.id.in_(ids))
            return set((await connection.execute(query)).scalars())

    @uninterrupted
    async def use(self, principal: Principal, id: str, expires_at: float) -> bool:
        """Uses an approval or a code, and returns whether it was unused."""
        row = {"id": id, "tenant": principal.tenant, "expires_at": expires_at}

        def work(connection: Connection) -> bool:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            insert = dialect.insert(used_approvals).values(row).on_conflict_do_nothing()
            return connection.execute(insert.returning(used_approvals.c.id)).first() is not None

        return await self._database.group_commit(work)

    @uninterrupted
    async def prune(self) -> int:
        """Removes those that expired long ago. Returns their number."""
        async with self._database.write() as connection:
            over = used_approvals.delete().where(used_approvals.c.expires_at < now() - KEPT_S)
            return (await connection.execute(over)).rowcount
