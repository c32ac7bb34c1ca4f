"""The indexes of a vector store: the one that searches use, and its replacement under construction."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace

from sqlalchemy import select

from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database
from serving.store.relational.tables import vector_store_files, vector_stores

TOGETHER = 500
"""Maximum number of files in one query."""


@dataclass(frozen=True, slots=True)
class StoreIndexes:
    """Names of indexes: the one that searches read, the one under construction, and retired ones."""

    live: str
    next: str | None = None
    retired: tuple[str, ...] = ()
    embedder: str | None = field(default=None, kw_only=True)  # of the searched one, if it was read

    @property
    def written(self) -> tuple[str, ...]:
        """The indexes that documents are written to."""
        return (self.live, self.next) if self.next is not None else (self.live,)

    @property
    def all(self) -> tuple[str, ...]:
        """The indexes that may contain documents."""
        return (*self.written, *self.retired)

    def begun(self, name: str) -> StoreIndexes:
        """Returns these with a new index under construction; an earlier one is abandoned."""
        given_up = (self.next,) if self.next is not None else ()
        return replace(self, next=name, retired=(*self.retired, *given_up))

    def switched(self, embedder: str) -> StoreIndexes:
        """Returns these after the switch of searches to the index under construction."""
        assert self.next is not None
        return StoreIndexes(self.next, None, (*self.retired, self.live), embedder=embedder)


Change = Callable[[StoreIndexes], StoreIndexes]


class Indexes:
    """Names of indexes in the rows of vector stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def get(self, store_id: str) -> StoreIndexes:
        """Returns a store's indexes; for a missing store, the initial ones."""
        query = select(vector_stores.c.indexes).where(vector_stores.c.id == store_id)
        async with self._database.read() as connection:
            return read_indexes(store_id, (await connection.execute(query)).scalar())

    @uninterrupted
    async def change(self, store_id: str, change: Change) -> StoreIndexes:
        """Changes a store's indexes in one transaction, and returns the new ones."""
        of = vector_stores.c
        async with self._database.write() as connection:
            query = select(of.indexes).where(of.id == store_id).with_for_update()
            changed = change(read_indexes(store_id, (await connection.execute(query)).scalar()))
            await connection.execute(vector_stores.update().where(of.id == store_id).values(indexes=asdict(changed)))
            return changed

    @uninterrupted
    async def unsettled(self, embedder: str) -> list[tuple[str, str]]:
        """Returns tenants and ids of stores that need work, oldest first.

        Their index may be another embedder's, or they have a retired one.
        """
        of = vector_stores.c
        query = select(of.tenant, of.id, of.indexes).order_by(of.created_at, of.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        found = [(tenant, id, read_indexes(id, indexes)) for tenant, id, indexes in rows]
        return [(tenant, id) for tenant, id, names in found if names.embedder != embedder or names.retired]

    @uninterrupted
    async def complete(self, store_id: str, files: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Returns those of the files, as (tenant, id), whose ingestion into the store is complete."""
        of = vector_store_files.c
        query = select(of.tenant, of.file_id).where(of.vector_store_id == store_id, of.status == "completed")
        found: set[tuple[str, str]] = set()
        ids = sorted(file_id for _, file_id in files)
        async with self._database.read() as connection:
            for at in range(0, len(ids), TOGETHER):
                page = await connection.execute(query.where(of.file_id.in_(ids[at : at + TOGETHER])))
                found |= {(tenant, file_id) for tenant, file_id in page.all()}
        return found & set(files)


def read_indexes(store_id: str, stored: dict[str, object] | None) -> StoreIndexes:
    """Returns the indexes in a row, if it has any."""
    if stored is None:
        return StoreIndexes(store_id)
    return StoreIndexes(**{**stored, "retired": tuple(stored["retired"])})  # type: ignore[arg-type]
