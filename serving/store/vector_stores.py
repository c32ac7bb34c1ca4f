"""Vector stores and the files attached to them: what should be searchable, and how far that has come.

Each change and the job that carries it into the index are one transaction. The end of an ingestion job decides
the attachment's status in the job's own last transaction, however the job ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.security.principal import Principal
from serving.store import values
from serving.store import vector_store as rows
from serving.store.database import Database
from serving.store.errors import NotFound
from serving.store.ids import new_id, now
from serving.store.jobs import Jobs
from serving.store.models import files, vector_store_files, vector_stores
from serving.store.postgres import lock
from serving.store.rows import Order, Page, build, page
from serving.store.uninterrupted import uninterrupted
from serving.store.vector_store import (
    DROP_INDEX,
    INGEST,
    PURGE_INDEX,
    UNINDEX,
    FileCounts,
    FileStatus,
    VectorStore,
    VectorStoreFile,
)

__all__ = [
    "DROP_INDEX",
    "INGEST",
    "PURGE_INDEX",
    "UNINDEX",
    "FileCounts",
    "FileStatus",
    "VectorStore",
    "VectorStoreFile",
    "VectorStores",
]

MAX_PAGE = 100


class VectorStores:
    """The vector stores of all tenants. Make one wherever jobs are run or cancelled: it follows their ends."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs
        jobs.on_end(INGEST, rows.ingestion_ended)

    @uninterrupted
    async def create(
        self, principal: Principal, *, name: str = "", metadata: Mapping[str, object] | None = None
    ) -> VectorStore:
        at = now()
        row = {
            "id": new_id("vs"),
            "tenant": principal.tenant,
            "name": values.text("name", name),
            "metadata": values.metadata("metadata", metadata),
            "created_at": at,
            "last_active_at": at,
        }
        async with self._database.write() as connection:
            await connection.execute(vector_stores.insert().values(row))
        return VectorStore(**row, file_counts=FileCounts(), usage_bytes=0)  # type: ignore[arg-type]

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> VectorStore:
        """Returns the tenant's vector store or raises `NotFound`."""
        async with self._database.read() as connection:
            return await rows.get(connection, principal, id)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        name: str | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[VectorStore]:
        """Returns the tenant's vector stores; `name` keeps those of exactly this name (names may repeat)."""
        query = select(vector_stores)
        if name is not None:
            query = query.where(vector_stores.c.name == values.text("name", name))
        async with self._database.read() as connection:
            found = await page(
                connection,
                query,
                vector_stores,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
            )
            return Page(await rows.with_usage(connection, found.items), found.has_more)

    @uninterrupted
    async def update(
        self,
        principal: Principal,
        id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> VectorStore:
        """Changes what is given; `metadata` replaces the whole."""
        changes: dict[str, object] = {"last_active_at": now()}
        if name is not None:
            changes["name"] = values.text("name", name)
        if metadata is not None:
            changes["metadata"] = values.metadata("metadata", metadata)
        async with self._database.write() as connection:
            await connection.execute(vector_stores.update().where(rows.owned(principal, id)).values(changes))
            return await rows.get(connection, principal, id)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes the store and its attachments (not the files) and enqueues the removal of its index."""
        async with self._database.write() as connection:
            await lock(connection, "group", id)
            await rows.require(connection, principal, id)
            await self._jobs.cancel_group(principal, id, connection=connection)
            inside = vector_store_files.c.vector_store_id == id
            await connection.execute(vector_store_files.delete().where(inside))
            await connection.execute(vector_stores.delete().where(rows.owned(principal, id)))
            await self._jobs.enqueue(
                principal, DROP_INDEX, {"vector_store_id": id}, group=(id, None), connection=connection
            )

    @uninterrupted
    async def attach(
        self,
        principal: Principal,
        id: str,
        file_id: str,
        *,
        attributes: Mapping[str, object] | None = None,
        chunking: dict[str, Any] | None = None,
    ) -> VectorStoreFile:
        """Puts a file into the store and enqueues its ingestion.

        A file that is already there stays as it is, unless it had failed or was cancelled, or its attributes or
        chunking change: then it is ingested anew. Raises `NotFound` for the store or the file.
        """
        checked = values.attributes("attributes", attributes)
        async with self._database.write() as connection:
            # The file before the store, as when a file is deleted: both wait in the same order.
            mine = select(files.c.id).where(files.c.id == file_id, files.c.tenant == principal.tenant)
            there = (await connection.execute(mine.with_for_update(read=True, key_share=True))).first()
            await lock(connection, "group", id)
            await rows.require(connection, principal, id)
            if there is None:
                raise NotFound("file", file_id)
            old = await rows.get_file(connection, principal, id, file_id)
            if old is not None:
                same = (old.attributes, old.chunking) == (checked, chunking or {})
                if same and old.status in ("in_progress", "completed"):
                    return old
                await self._remove(connection, principal, old)
            job = await self._jobs.enqueue(
                principal,
                INGEST,
                {"vector_store_id": id, "file_id": file_id},
                group=(id, file_id),
                connection=connection,
            )
            at = now()
            row = {
                "vector_store_id": id,
                "file_id": file_id,
                "tenant": principal.tenant,
                "status": "in_progress",
                "attributes": checked,
                "chunking": chunking or {},
                "usage_bytes": 0,
                "error_code": None,
                "error_message": None,
                "job_id": job.id,
                "created_at": old.created_at if old is not None else at,
            }
            await connection.execute(vector_store_files.insert().values(row))
            await rows.touch(connection, id, at)
        return VectorStoreFile(**row)  # type: ignore[arg-type]

    @uninterrupted
    async def get_file(self, principal: Principal, id: str, file_id: str) -> VectorStoreFile:
        """Returns a file's attachment or raises `NotFound`."""
        async with self._database.read() as connection:
            found = await rows.get_file(connection, principal, id, file_id)
        if found is None:
            raise NotFound("vector store file", file_id)
        return found

    @uninterrupted
    async def list_files(
        self,
        principal: Principal,
        id: str,
        *,
        status: FileStatus | None = None,
        after: str | None = None,
        limit: int = 20,
        order: Order = "desc",
    ) -> Page[VectorStoreFile]:
        """Returns the store's files, of one status if given; `after` is a file id."""
        query = select(vector_store_files)
        if status is not None:
            query = query.where(vector_store_files.c.status == status)
        async with self._database.read() as connection:
            await rows.require(connection, principal, id)
            found = await page(
                connection,
                query,
                vector_store_files,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                id_column="file_id",
                within=vector_store_files.c.vector_store_id == id,
            )
        return Page([build(VectorStoreFile, row) for row in found.items], found.has_more)

    @uninterrupted
    async def cancel_file(self, principal: Principal, id: str, file_id: str) -> VectorStoreFile:
        """Cancels a file's ingestion; one that is running ends when its worker notices."""
        async with self._database.write() as connection:
            await lock(connection, "group", id)
            found = await rows.get_file(connection, principal, id, file_id)
            if found is None:
                raise NotFound("vector store file", file_id)
            await self._jobs.cancel(principal, found.job_id, connection=connection)
            return await rows.get_file(connection, principal, id, file_id) or found

    @uninterrupted
    async def detach(
        self, principal: Principal, id: str, file_id: str, *, connection: AsyncConnection | None = None
    ) -> None:
        """Takes a file out of the store and enqueues the removal of its chunks. Raises `NotFound`."""
        async with self._database.write(connection) as connection:
            await lock(connection, "group", id)
            found = await rows.get_file(connection, principal, id, file_id)
            if found is None:
                raise NotFound("vector store file", file_id)
            await self._remove(connection, principal, found)
            await self._jobs.enqueue(
                principal,
                UNINDEX,
                {"vector_store_id": id, "file_id": file_id},
                group=(id, file_id),
                connection=connection,
            )
            await rows.touch(connection, id, now())

    async def _remove(self, connection: AsyncConnection, principal: Principal, file: VectorStoreFile) -> None:
        if file.status == "in_progress":
            await self._jobs.cancel(principal, file.job_id, connection=connection)
        await connection.execute(
            vector_store_files.delete().where(
                vector_store_files.c.vector_store_id == file.vector_store_id,
                vector_store_files.c.file_id == file.file_id,
            )
        )
