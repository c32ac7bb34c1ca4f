"""File batches: files that were attached to a vector store together, with their joint progress.

A batch is part of its store, and is deleted with it. The results of its files are not stored here: they are counted
from their rows in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import vector_store as rows
from serving.store.attachments.attaching import MeterOf, NewFile, attach
from serving.store.errors import NotFound
from serving.store.jobs.job import cancel_all
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, build, require_room
from serving.store.relational.tables import file_batch_files, file_batches, vector_store_files
from serving.store.vector_store import FileCounts, FileStatus, VectorStoreFile

MAX_BATCHES = 100_000
"""Maximum number of file batches in all vector stores of a tenant."""

FileBatchStatus = Literal["in_progress", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class FileBatch:
    """OpenAI's vector store file batch. Files that were removed from the store since are not counted."""

    id: str
    vector_store_id: str
    tenant: str
    cancelled_at: float | None
    created_at: float
    file_counts: FileCounts

    @property
    def status(self) -> FileBatchStatus:
        """Status of the batch: failed when no file of it is in the store and at least one failed."""
        if self.cancelled_at is not None:
            return "cancelled"
        if self.file_counts.in_progress:
            return "in_progress"
        return "failed" if self.file_counts.failed and not self.file_counts.completed else "completed"


class FileBatches:
    """The file batches of all tenants."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs

    @uninterrupted
    async def create(
        self, principal: Principal, store_id: str, asked: Sequence[NewFile], *, meter: MeterOf | None = None
    ) -> FileBatch:
        """Attaches files, each named once, to a store: all or none. Raises as `attach` does."""
        batch = {
            "id": new_id("vsfb"),
            "vector_store_id": store_id,
            "tenant": principal.tenant,
            "cancelled_at": None,
            "created_at": now(),
        }
        async with self._database.write() as connection:
            await attach(connection, self._jobs, principal, store_id, asked, meter)
            await require_room(connection, file_batches, principal.tenant, MAX_BATCHES, "file batches")
            await connection.execute(file_batches.insert().values(batch))
            of = {"batch_id": batch["id"], "tenant": principal.tenant}
            members = [of | {"file_id": each.file_id} for each in asked]
            await connection.execute(file_batch_files.insert(), members)
            return await _get(connection, principal, store_id, str(batch["id"]))

    @uninterrupted
    async def get(self, principal: Principal, store_id: str, id: str) -> FileBatch:
        """Returns a batch of a store that the principal may read, or raises `NotFound`."""
        async with self._database.read() as connection:
            await rows.require(connection, principal, store_id)
            return await _get(connection, principal, store_id, id)

    @uninterrupted
    async def cancel(self, principal: Principal, store_id: str, id: str) -> FileBatch:
        """Cancels the ingestion of files that are not in the store yet; others stay. No effect if there are none.

        Raises `NotFound` or `NotOwner`.
        """
        async with self._database.write() as connection:
            await lock(connection, "group", store_id)
            await rows.require_change(connection, principal, store_id)
            await _get(connection, principal, store_id, id)
            of = vector_store_files.c
            unfinished = _members(store_id, id, of.job_id).where(of.status == "in_progress")
            found = (await connection.execute(unfinished)).scalars().all()
            if found:
                ended = await cancel_all(connection, principal, found)
                those = and_(of.vector_store_id == store_id, of.job_id.in_(ended))
                await connection.execute(vector_store_files.update().where(those).values(status="cancelled"))
                this = file_batches.c.id == id
                await connection.execute(file_batches.update().where(this).values(cancelled_at=now()))
                await rows.touch(connection, store_id, now())
            return await _get(connection, principal, store_id, id)

    @uninterrupted
    async def list_files(
        self,
        principal: Principal,
        store_id: str,
        id: str,
        *,
        status: FileStatus | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[VectorStoreFile]:
        """Returns a batch's files, of one status if given; `after` is a file id."""
        members = select(file_batch_files.c.file_id).where(file_batch_files.c.batch_id == id)
        async with self._database.read() as connection:
            await rows.require(connection, principal, store_id)
            await _get(connection, principal, store_id, id)
            return await rows.page_of_files(
                connection, principal, store_id, members, status=status, after=after, limit=limit, order=order
            )


async def _get(connection: AsyncConnection, principal: Principal, store_id: str, id: str) -> FileBatch:
    of = file_batches.c
    query = select(file_batches).where(of.id == id, of.vector_store_id == store_id, of.tenant == principal.tenant)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound("file batch", id)
    status = vector_store_files.c.status
    query = _members(store_id, id, status, func.count().label("number")).group_by(status)
    counted: dict[str, int] = {found.status: found.number for found in await connection.execute(query)}
    return build(FileBatch, row, file_counts=FileCounts(**counted))


def _members(store_id: str, id: str, *columns: Any) -> Select[Any]:
    """Returns the selection of a batch's files that are in the store."""
    of, member = vector_store_files.c, file_batch_files.c
    joined = vector_store_files.join(file_batch_files, of.file_id == member.file_id)
    return select(*columns).select_from(joined).where(member.batch_id == id, of.vector_store_id == store_id)
