"""Which files a person may read, whoever found them for an answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.principal import STACK, Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.access import readable
from serving.store.relational.database import Database
from serving.store.relational.tables import files, vector_store_files, vector_stores
from serving.store.users import ADMIN
from serving.store.vector_stores import VectorStores


class ReadableFiles:
    """The access lists of files and of the vector stores that have them, as they are now."""

    def __init__(self, database: Database, stores: VectorStores) -> None:
        self._database = database
        self._stores = stores

    @uninterrupted
    async def findable(
        self, principal: Principal, ids: Collection[str], collections: Mapping[str, bool]
    ) -> Collection[str]:
        """Returns those of `ids`, found in vector stores, that the principal may read and could find now.

        Of its own tenant's files these are those whose list admits it, as does the list of a vector store that has the
        file: when the store is deleted or the file taken out of it, nothing tells any more for whom it was. Assistants
        read `collections` for the principal: those of the stack with these names, each with whether it is read with the
        access of the stack's own user.
        """
        if not ids:
            return ()
        wanted = sorted(ids)
        stores = {name: await self._stores.named(STACK, ADMIN, name) for name in collections}
        async with self._database.read() as connection:
            found = await _admitting(connection, principal, wanted) & await _attached(connection, principal, wanted)
            guest = principal if principal.tenant == STACK else Principal(STACK, user="", key_id=principal.key_id)
            for reader, told in ((Principal(STACK, ADMIN, principal.key_id), True), (guest, False)):
                read = [id for name, id in stores.items() if id is not None and collections[name] is told]
                found |= await _attached(connection, reader, wanted, read)
        return found

    @uninterrupted
    async def attached(self, principal: Principal, ids: Collection[str]) -> Collection[str]:
        """Returns those of `ids`, attached to questions, that the principal may read.

        Their lists admit it. Those that are in vector stores now could also be found there by it.
        """
        if not ids:
            return ()
        wanted = sorted(ids)
        of = vector_store_files.c
        anywhere = select(of.file_id).where(of.file_id.in_(wanted), of.tenant == principal.tenant)
        async with self._database.read() as connection:
            stored = set((await connection.execute(anywhere)).scalars())
            open = await _attached(connection, principal, wanted)
            return {id for id in await _admitting(connection, principal, wanted) if id in open or id not in stored}


async def _admitting(connection: AsyncConnection, principal: Principal, ids: Sequence[str]) -> set[str]:
    """Returns the files whose own list admits the principal."""
    mine = select(files.c.id).where(files.c.id.in_(ids), readable(files, principal))
    return set((await connection.execute(mine)).scalars())


async def _attached(
    connection: AsyncConnection, principal: Principal, ids: Sequence[str], stores: Sequence[str] | None = None
) -> set[str]:
    """Returns the files that are in a vector store, one of `stores` if they are given, if the principal may read
    both.
    """
    if stores is not None and not stores:
        return set()
    of = vector_store_files.c
    query = select(of.file_id).join(vector_stores).where(of.file_id.in_(ids))
    query = query.where(readable(vector_store_files, principal), readable(vector_stores, principal))
    if stores is not None:
        query = query.where(of.vector_store_id.in_(stores))
    return set((await connection.execute(query)).scalars())
