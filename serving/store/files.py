"""Rows of uploaded files. Their content is in `Blobs`, written before the row and deleted after it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal, worker
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store.access import Access, listed, reachable, readable, require_owner
from serving.store.errors import NotFound
from serving.store.jobs.queue import Jobs
from serving.store.quotas import Meter
from serving.store.relational.database import Database
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import files, vector_store_files
from serving.store.vector_stores import VectorStores

MAX_PAGE = 10_000

PRUNED_TOGETHER = 100

DELETE_BLOB = "delete_blob"
"""Job kind: payload {"file_id"}. Its handler is `blob_deletion` in `serving.store.objects.blobs`."""


@dataclass(frozen=True, slots=True)
class File:
    """OpenAI's file object, with the `sha256` of its bytes, and `kind`, the content type determined from the content.

    `access` is the list of names of `serving.store.access`.
    """

    id: str
    tenant: str
    user: str | None
    filename: str
    purpose: str
    status: str
    bytes: int
    sha256: str
    kind: str
    access: list[str] | None
    created_at: float


class Files:
    """The files of all tenants."""

    def __init__(self, database: Database, jobs: Jobs, vector_stores: VectorStores) -> None:
        self._database = database
        self._jobs = jobs
        self._vector_stores = vector_stores

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        id: str,
        *,
        filename: str,
        purpose: str,
        bytes: int,
        sha256: str,
        kind: str,
        access: Access | None = None,
        meter: Meter | None = None,
    ) -> File:
        """Adds the row of a file whose content was written to `Blobs` with the same `id`.

        Raises `QuotaExceeded` if `meter` does.
        """
        row = {
            "id": id,
            "tenant": principal.tenant,
            "user": principal.user,
            "filename": values.text("filename", filename, min_length=1),
            "purpose": values.text("purpose", purpose, max_length=64, min_length=1),
            "status": "processed",
            "bytes": bytes,
            "sha256": sha256,
            "kind": values.text("kind", kind, max_length=64),
            "access": listed(access, principal.user),
            "created_at": now(),
        }
        async with self._database.write() as connection:
            if meter is not None:
                await connection.run_sync(meter)
            await connection.execute(files.insert().values(row))
        return File(**row)  # type: ignore[arg-type]

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> File:
        """Returns a file that the principal may read, or raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get(connection, principal, id)

    @uninterrupted
    async def names(self, principal: Principal, ids: Collection[str]) -> dict[str, str]:
        """Returns the names of those of `ids` that are files which the principal may read."""
        query = select(files.c.id, files.c.filename).where(files.c.id.in_(ids), readable(files, principal))
        async with self._database.read() as connection:
            return {row.id: row.filename for row in await connection.execute(query)}

    @uninterrupted
    async def get_any(self, tenant: str, id: str) -> File:
        """Returns a file for background work, whoever may read it; raises `NotFound`."""
        async with self._database.read() as connection:
            return await _get_one(connection, id, files.c.tenant == tenant)

    @uninterrupted
    async def list(
        self,
        principal: Principal,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int = MAX_PAGE,
        order: Order = "desc",
    ) -> Page[File]:
        query = select(files)
        if purpose is not None:
            query = query.where(files.c.purpose == values.text("purpose", purpose, max_length=64))
        async with self._database.read() as connection:
            found = await page(
                connection,
                query,
                files,
                principal,
                after=after,
                limit=limit,
                max_limit=MAX_PAGE,
                order=order,
                within=readable(files, principal),
            )
        return build_page(File, found)

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes the row, detaches the file everywhere, and enqueues the removal of its content from indexes and
        storage.

        It is one transaction: afterwards nobody finds the file, whatever happens to this process. Raises `NotFound`,
        and `NotOwner` if another user owns and shares it.
        """
        async with self._database.write() as connection:
            found = await _get_one(connection, id, reachable(files, principal), lock=True)
            require_owner(principal, found.user)
            # In one order: concurrent deletions from two stores would deadlock otherwise.
            stores = await connection.execute(
                select(vector_store_files.c.vector_store_id)
                .where(vector_store_files.c.file_id == id)
                .order_by(vector_store_files.c.vector_store_id)
            )
            for store_id in stores.scalars().all():
                await self._vector_stores.forget(principal, store_id, id, connection)
            await connection.execute(files.delete().where(files.c.id == id))
            await self._jobs.enqueue(principal, DELETE_BLOB, {"file_id": id}, connection=connection)

    async def prune(self, older_than_s: float) -> int:
        """Deletes files of all tenants that were uploaded longer ago than that. Returns their number."""
        removed = 0
        while old := await self._older(now() - older_than_s):
            for tenant, id in old:
                with suppress(NotFound):  # another process did it first
                    await self.delete(worker(tenant, "retention"), id)
                    removed += 1
        return removed

    @uninterrupted
    async def _older(self, than: float) -> Sequence[tuple[str, str]]:
        query = select(files.c.tenant, files.c.id).where(files.c.created_at < than).limit(PRUNED_TOGETHER)
        async with self._database.read() as connection:
            return [(tenant, id) for tenant, id in await connection.execute(query)]

    @uninterrupted
    async def existing(self, tenant: str, ids: Sequence[str]) -> set[str]:
        """Returns which of `ids` have a row; for `Blobs.sweep`."""
        query = select(files.c.id).where(files.c.tenant == tenant, files.c.id.in_(ids))
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())


async def _get(connection: AsyncConnection, principal: Principal, id: str) -> File:
    return await _get_one(connection, id, readable(files, principal))


async def _get_one(connection: AsyncConnection, id: str, where: ColumnElement[bool], *, lock: bool = False) -> File:
    query = select(files).where(files.c.id == id, where)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound("file", id)
    return build(File, row)
