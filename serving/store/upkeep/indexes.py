"""Which indexes a vector store has: the one that is searched, and the one that takes its place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace

from sqlalchemy import select

from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database
from serving.store.relational.tables import vector_store_files, vector_stores

TOGETHER = 500
"""Files that one query asks for."""


@dataclass(frozen=True, slots=True)
class StoreIndexes:
    """Names of indexes: the one that searches read, the one that is built behind it, and those that nobody reads."""

    live: str
    next: str | None = None
    retired: tuple[str, ...] = ()
    embedder: str | None = field(default=None, kw_only=True)  # of the live one, where it was looked at

    @property
    def written(self) -> tuple[str, ...]:
        """The indexes that documents are written to."""
        return (self.live, self.next) if self.next is not None else (self.live,)

    @property
    def all(self) -> tuple[str, ...]:
        """The indexes that may hold documents."""
        return (*self.written, *self.retired)

    def begun(self, name: str) -> StoreIndexes:
        """Returns them with another one that is built; one that was built before is given up."""
        given_up = (self.next,) if self.next is not None else ()
        return replace(self, next=name, retired=(*self.retired, *given_up))

    def switched(self, embedder: str) -> StoreIndexes:
        """Returns them with the one that was built as the one that is searched."""
        assert self.next is not None
        return StoreIndexes(self.next, None, (*self.retired, self.live), embedder=embedder)


Change = Callable[[StoreIndexes], StoreIndexes]


class Indexes:
    """The names in the rows of vector stores."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @uninterrupted
    async def get(self, store_id: str) -> StoreIndexes:
        """Returns a store's indexes; of one that is not there, those that it had at first."""
        query = select(vector_stores.c.indexes).where(vector_stores.c.id == store_id)
        async with self._database.read() as connection:
            return read_indexes(store_id, (await connection.execute(query)).scalar())

    @uninterrupted
    async def change(self, store_id: str, change: Change) -> StoreIndexes:
        """Changes a store's indexes in one transaction, and returns what they are then."""
        of = vector_stores.c
        async with self._database.write() as connection:
            query = select(of.indexes).where(of.id == store_id).with_for_update()
            changed = change(read_indexes(store_id, (await connection.execute(query)).scalar()))
            await connection.execute(vector_stores.update().where(of.id == store_id).values(indexes=asdict(changed)))
            return changed

    @uninterrupted
    async def unsettled(self, embedder: str) -> list[tuple[str, str]]:
        """Returns the tenants and ids of stores to look at, the oldest first.

        Their index may be another embedder's, or they have one that is to be removed.
        """
        of = vector_stores.c
        query = select(of.tenant, of.id, of.indexes).order_by(of.created_at, of.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        found = [(tenant, id, read_indexes(id, indexes)) for tenant, id, indexes in rows]
        return [(tenant, id) for tenant, id, names in found if names.embedder != embedder or names.retired]

    @uninterrupted
    async def complete(self, store_id: str, files: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Returns those of the files, each a tenant and an id, that the store has completely ingested."""
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
    """Returns the indexes of a row, where it has them."""
    if stored is None:
        return StoreIndexes(store_id)
    return StoreIndexes(**{**stored, "retired": tuple(stored["retired"])})  # type: ignore[arg-type]
