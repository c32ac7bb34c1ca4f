"""Vector stores and their attached files, with the state of their ingestion.

Each change and the job that applies it to the index are one transaction. The end of an ingestion job determines the
attachment's status in the job's own last transaction, however the job ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import STACK, Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store import vector_store as rows
from serving.store.access import Access, listed, reachable, readable, require_owner_to_open
from serving.store.attachments.attaching import MeterOf, NewFile, Unchanged, attach, remove
from serving.store.errors import NotFound
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.rows import Order, Page, page, require_room
from serving.store.relational.tables import UNFINISHED, jobs, vector_store_files, vector_stores
from serving.store.users import ADMIN
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

MAX_STORES = 10_000
"""Maximum number of vector stores of a tenant."""


class VectorStores:
    """The vector stores of all tenants. Create one wherever jobs are run or cancelled: it registers for their ends."""

    def __init__(self, database: Database, jobs: Jobs) -> None:
        self._database = database
        self._jobs = jobs
        jobs.on_end(INGEST, rows.ingestion_ended)

    @uninterrupted
    async def create(
        self,
        principal: Principal,
        *,
        name: str = "",
        metadata: Mapping[str, object] | None = None,
        access: Access | None = None,
    ) -> VectorStore:
        at = now()
        row = {
            "id": new_id("vs"),
            "tenant": principal.tenant,
            "user": principal.user,
            "name": values.text("name", name),
            "metadata": values.metadata("metadata", metadata),
            "access": listed(access, principal.user),
            "created_at": at,
            "last_active_at": at,
        }
        async with self._database.write() as connection:
            await require_room(connection, vector_stores, principal.tenant, MAX_STORES, "vector stores")
            await connection.execute(vector_stores.insert().values(row))
        return VectorStore(**row, file_counts=FileCounts(), usage_bytes=0)  # type: ignore[arg-type]

    @uninterrupted
    async def get(self, principal: Principal, id: str) -> VectorStore:
        """Returns a vector store that the principal may read, or raises `NotFound`."""
        async with self._database.read() as connection:
            return await rows.get(connection, principal, id)

    @uninterrupted
    async def readable_ids(self, principal: Principal, ids: Sequence[str]) -> set[str]:
        """Returns which of `ids` are stores that the principal may read."""
        of = vector_stores.c
        query = select(of.id).where(of.id.in_(ids), readable(vector_stores, principal))
        async with self._database.read() as connection:
            return set((await connection.execute(query)).scalars())

    @uninterrupted
    async def names(self, principal: Principal, ids: Collection[str]) -> dict[str, str]:
        """Returns the names of those of `ids` that are stores which the principal may read."""
        of = vector_stores.c
        query = select(of.id, of.name).where(of.id.in_(ids), readable(vector_stores, principal))
        async with self._database.read() as connection:
            return {row.id: row.name for row in await connection.execute(query)}

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
        """Returns the stores that the principal may read, optionally only those of one `name`, which need not be
        unique.
        """
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
                max_limit=rows.MAX_PAGE,
                order=order,
                within=readable(vector_stores, principal),
            )
            return Page(await rows.with_usage(connection, found.items), found.has_more)

    @uninterrupted
    async def named(self, tenant: str, owner: str, name: str) -> str | None:
        """Returns the id of the oldest vector store of that name owned by `owner`, whoever may read it.

        One from a version without owners is used only if the owner has none. Other users' stores of the same name never
        are, since these users determine their content.
        """
        of = vector_stores.c
        query = select(of.id).where(of.tenant == tenant, of.name == name, or_(of.user == owner, of.user.is_(None)))
        query = query.order_by(of.user.is_(None), of.created_at, of.id).limit(1)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar()

    @uninterrupted
    async def unread(self, ids: Collection[str]) -> int:
        """Returns the number of files in these stores whose ingestion has not ended."""
        of = vector_store_files.c
        query = select(func.count()).where(of.vector_store_id.in_(ids), of.status == "in_progress")
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one() if ids else 0

    @uninterrupted
    async def update(
        self,
        principal: Principal,
        id: str,
        *,
        name: str | None = None,
        metadata: Mapping[str, object] | None = None,
        access: Access | Unchanged | None = "unchanged",
    ) -> VectorStore:
        """Changes the given fields; `metadata` and `access` are replaced completely. Raises `NotFound`, and `NotOwner`,
        also for an admin who lets in more people than the owner did.

        A store from a version without owners becomes the stack's own user's when that user changes it.
        """
        changes: dict[str, Any] = {"last_active_at": now()}
        if name is not None:
            changes["name"] = values.text("name", name)
        if metadata is not None:
            changes["metadata"] = values.metadata("metadata", metadata)
        async with self._database.write() as connection:
            owner, before = await rows.require_change(connection, principal, id)
            if owner is None and (principal.tenant, principal.user) == (STACK, ADMIN):
                changes["user"] = principal.user
            if access != "unchanged":
                changes["access"] = listed(access, owner or principal.user)
                require_owner_to_open(principal, owner, before, changes["access"])
            await connection.execute(vector_stores.update().where(vector_stores.c.id == id).values(changes))
            return await rows.one(connection, id, reachable(vector_stores, principal))

    @uninterrupted
    async def delete(self, principal: Principal, id: str) -> None:
        """Deletes the store and its attachments (not the files) and enqueues the removal of its index."""
        async with self._database.write() as connection:
            await lock(connection, "group", id)
            await rows.require_change(connection, principal, id)
            payload = await rows.drop_payload(connection, id)
            await self._jobs.cancel_group(principal, id, connection=connection)
            inside = vector_store_files.c.vector_store_id == id
            await connection.execute(vector_store_files.delete().where(inside))
            await connection.execute(vector_stores.delete().where(vector_stores.c.id == id))
            await self._jobs.enqueue(principal, DROP_INDEX, payload, group=(id, None), connection=connection)

    @uninterrupted
    async def attach(
        self,
        principal: Principal,
        id: str,
        file_id: str,
        *,
        attributes: Mapping[str, object] | None = None,
        chunking: dict[str, Any] | None = None,
        access: Access | Unchanged | None = "unchanged",
        meter: MeterOf | None = None,
    ) -> VectorStoreFile:
        """Attaches one file to the store, as `attach_all` does."""
        asked = NewFile(file_id, attributes, chunking, access)
        (found,) = await self.attach_all(principal, id, [asked], meter=meter)
        return found

    @uninterrupted
    async def attach_all(
        self, principal: Principal, id: str, asked: Sequence[NewFile], *, meter: MeterOf | None = None
    ) -> Sequence[VectorStoreFile]:
        """Attaches files to the store, all or none, as `attaching.attach` does."""
        async with self._database.write() as connection:
            return await attach(connection, self._jobs, principal, id, asked, meter)

    @uninterrupted
    async def get_file(self, principal: Principal, id: str, file_id: str) -> VectorStoreFile:
        """Returns a file's attachment or raises `NotFound`."""
        async with self._database.read() as connection:
            found = await rows.get_file(connection, principal, id, file_id)
        if found is None:
            raise NotFound("vector store file", file_id)
        return found

    @uninterrupted
    async def get_any_file(self, tenant: str, id: str, file_id: str) -> VectorStoreFile:
        """Returns a file's attachment for background work, whoever may read it; raises `NotFound`."""
        async with self._database.read() as connection:
            found = await rows.get_any_file(connection, tenant, id, file_id)
        if found is None:
            raise NotFound("vector store file", file_id)
        return found

    @uninterrupted
    async def withheld(self, principal: Principal, id: str) -> Sequence[str] | None:
        """Returns the files that a search must exclude, or None when the principal may not read the store at all.

        These are files whose new access list, which is not in the index yet, excludes the principal, and removed files
        that are still in the index.
        """
        of = vector_store_files.c
        changing = select(of.file_id).where(
            of.vector_store_id == id, of.status != "completed", ~readable(vector_store_files, principal)
        )
        going = select(jobs.c.group_item).where(jobs.c.group_key == id, jobs.c.kind == UNINDEX, UNFINISHED)
        async with self._database.read() as connection:
            if (await connection.execute(select(vector_stores.c.id).where(rows.shared(principal, id)))).first() is None:
                return None
            return (await connection.execute(changing.union(going))).scalars().all()

    @uninterrupted
    async def attributes(
        self, principal: Principal, id: str, file_ids: Sequence[str]
    ) -> dict[str, dict[str, values.Attribute]]:
        """Returns the attributes of these files in the store, if the principal may read them."""
        of = vector_store_files.c
        query = select(of.file_id, of.attributes).where(of.vector_store_id == id, of.file_id.in_(file_ids))
        async with self._database.read() as connection:
            found = await connection.execute(query.where(readable(vector_store_files, principal)))
            return {row.file_id: row.attributes for row in found}

    @uninterrupted
    async def attribute_groups(self, tenant: str, id: str, known: float | None) -> tuple[float, rows.Groups | None]:
        """Like `vector_store.attribute_groups`."""
        async with self._database.read() as connection:
            return await rows.attribute_groups(connection, tenant, id, known)

    @uninterrupted
    async def update_file(
        self, principal: Principal, id: str, file_id: str, attributes: Mapping[str, object] | None
    ) -> VectorStoreFile:
        """Replaces a file's attributes, which apply to the next search. Raises `NotFound` or `NotOwner`."""
        checked = values.attributes("attributes", attributes)
        async with self._database.write() as connection:
            await lock(connection, "group", id)
            await rows.require_change(connection, principal, id)
            return await rows.set_attributes(connection, principal, id, file_id, checked)

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
        """Returns the store's files, optionally of one status; `after` is a file id."""
        async with self._database.read() as connection:
            await rows.require(connection, principal, id)
            return await rows.page_of_files(
                connection, principal, id, status=status, after=after, limit=limit, order=order
            )

    @uninterrupted
    async def detach(self, principal: Principal, id: str, file_id: str) -> None:
        """Detaches a file from the store and enqueues the removal of its chunks. Raises `NotFound` or `NotOwner`."""
        async with self._database.write() as connection:
            await lock(connection, "group", id)
            await rows.require_change(connection, principal, id)
            found = await rows.get_file(connection, principal, id, file_id)
            if found is None:
                raise NotFound("vector store file", file_id)
            await self._take_out(connection, principal, found)

    async def forget(self, principal: Principal, id: str, file_id: str, connection: AsyncConnection) -> None:
        """Like `detach`, for a file that is being deleted, from any user's store."""
        await lock(connection, "group", id)
        found = await rows.get_any_file(connection, principal.tenant, id, file_id)
        if found is not None:
            await self._take_out(connection, principal, found)

    async def relist(
        self, principal: Principal, id: str, file_id: str, names: Sequence[str], connection: AsyncConnection
    ) -> None:
        """Gives a file in any user's store another access list, and applies it to the index if the file is in it."""
        await lock(connection, "group", id)
        found = await rows.get_any_file(connection, principal.tenant, id, file_id)
        if found is None:
            return
        changes: dict[str, object] = {"access": names}
        if found.status in ("in_progress", "completed"):
            if found.status == "in_progress":
                await self._jobs.cancel(principal, found.job_id, connection=connection)
            target = {"vector_store_id": id, "file_id": file_id, rows.RELISTED: True}
            job = await self._jobs.enqueue(principal, INGEST, target, group=(id, file_id), connection=connection)
            changes |= {"job_id": job.id, "status": "in_progress"}
        of = vector_store_files.c
        where = of.vector_store_id == id, of.file_id == file_id
        await connection.execute(vector_store_files.update().where(*where).values(changes))

    async def _take_out(self, connection: AsyncConnection, principal: Principal, file: VectorStoreFile) -> None:
        await remove(connection, self._jobs, principal, file)
        await rows.leave_batches(connection, file.vector_store_id, file.file_id)
        target = {"vector_store_id": file.vector_store_id, "file_id": file.file_id}
        group = (file.vector_store_id, file.file_id)
        await self._jobs.enqueue(principal, UNINDEX, target, group=group, connection=connection)
        await rows.touch(connection, file.vector_store_id, now())
