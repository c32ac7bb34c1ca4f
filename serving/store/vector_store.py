"""Rows of a vector store and its files as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import now
from serving.core.principal import Principal
from serving.store.access import reachable, readable, require_owner
from serving.store.errors import NotFound
from serving.store.jobs.job import Job
from serving.store.relational.rows import Order, Page, build, build_page, page
from serving.store.relational.tables import file_batch_files, file_batches, vector_store_files, vector_stores
from serving.store.upkeep.indexes import read_indexes
from serving.store.values import Attribute

MAX_PAGE = 100

INGEST = "ingest_file"
"""Job kind: payload {"vector_store_id", "file_id"}, optionally `RELISTED`.

The result is {"usage_bytes": int, "chunks": int, "extraction": dict}.
"""
RELISTED = "relisted"
"""Key of the payload: only the access list changed, by the stack's own work."""
UNINDEX = "unindex_file"
"""Job kind: payload {"vector_store_id", "file_id"}: removes the file's chunks from the index."""
DROP_INDEX = "drop_index"
"""Job kind: payload {"vector_store_id", "indexes"}: removes all indexes, by name."""
PURGE_INDEX = "purge_index"
"""Job kind: payload {"vector_store_id"}: removes deleted chunks of the index from disk."""
REINDEX = "build_index"
"""Job kind: payload {"vector_store_id"}: rebuilds the index with another embedder, one part per job."""
DROP_RETIRED = "drop_retired_index"
"""Job kind: payload {"vector_store_id", "index"}: removes an index that searches no longer use."""
OPTIMIZE = "optimize_index"
"""Job kind: payload {"vector_store_id"}: adds new rows to the indexes and compacts."""

Groups = dict[str, list[str]]
"""The ids of files by their attributes as JSON."""

FileStatus = Literal["in_progress", "completed", "failed", "cancelled"]

_FILE_STATUS: dict[str, FileStatus] = {"succeeded": "completed", "failed": "failed", "cancelled": "cancelled"}


@dataclass(frozen=True, slots=True)
class FileCounts:
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class VectorStore:
    """OpenAI's vector store object; `usage_bytes` is the size of its files in the index.

    `access` is the list of names of `serving.store.access`.
    """

    id: str
    tenant: str
    user: str | None
    name: str
    metadata: dict[str, str]
    access: list[str] | None
    created_at: float
    last_active_at: float
    file_counts: FileCounts
    usage_bytes: int

    @property
    def status(self) -> Literal["in_progress", "completed"]:
        return "in_progress" if self.file_counts.in_progress else "completed"


@dataclass(frozen=True, slots=True)
class VectorStoreFile:
    """A file in a vector store. `chunking` is the caller's chunking strategy as given, {} for the default.

    `extraction` says how much of the file's text is in its chunks, as `serving.retrieval.types.Extraction`; None while
    that is unknown, as for files that an earlier release ingested.
    """

    vector_store_id: str
    file_id: str
    tenant: str
    status: FileStatus
    attributes: dict[str, Attribute]
    chunking: dict[str, Any]
    usage_bytes: int
    extraction: dict[str, int] | None
    access: list[str] | None
    error_code: str | None
    error_message: str | None
    job_id: str
    created_at: float


async def ingestion_ended(connection: AsyncConnection, job: Job) -> None:
    """Records the end of an ingestion in its attachment; one that was replaced or detached matches no row."""
    failed = job.status == "failed"
    await connection.execute(
        vector_store_files.update()
        .where(vector_store_files.c.job_id == job.id, vector_store_files.c.status == "in_progress")
        .values(
            status=_FILE_STATUS[job.status],
            usage_bytes=int((job.result or {}).get("usage_bytes", 0)),
            extraction=(job.result or {}).get("extraction"),
            error_code=job.error_code if failed else None,
            error_message=job.error_message if failed else None,
        )
    )


def shared(principal: Principal, id: str) -> ColumnElement[bool]:
    return and_(vector_stores.c.id == id, readable(vector_stores, principal))


async def touch(connection: AsyncConnection, id: str, at: float) -> None:
    await connection.execute(vector_stores.update().where(vector_stores.c.id == id).values(last_active_at=at))


async def require(connection: AsyncConnection, principal: Principal, id: str) -> None:
    """Raises `NotFound` unless the principal may read this store; unlike `get`, does not count its files."""
    if (await connection.execute(select(vector_stores.c.id).where(shared(principal, id)))).first() is None:
        raise NotFound("vector store", id)


async def drop_payload(connection: AsyncConnection, id: str) -> dict[str, Any]:
    """Returns the payload of the job that removes the indexes of a store, whose row is deleted first."""
    stored = (await connection.execute(select(vector_stores.c.indexes).where(vector_stores.c.id == id))).scalar()
    return {"vector_store_id": id, "indexes": read_indexes(id, stored).all}


async def require_change(
    connection: AsyncConnection, principal: Principal, id: str
) -> tuple[str | None, list[str] | None]:
    """Returns a store's owner and access list; raises `NotFound`, and `NotOwner` if another user owns and shares it."""
    mine = and_(vector_stores.c.id == id, reachable(vector_stores, principal))
    row = (await connection.execute(select(vector_stores.c.user, vector_stores.c.access).where(mine))).first()
    if row is None:
        raise NotFound("vector store", id)
    require_owner(principal, row.user)
    return row.user, row.access


async def get(connection: AsyncConnection, principal: Principal, id: str) -> VectorStore:
    return await one(connection, id, readable(vector_stores, principal))


async def one(connection: AsyncConnection, id: str, where: ColumnElement[bool]) -> VectorStore:
    query = select(vector_stores).where(vector_stores.c.id == id, where)
    row = (await connection.execute(query)).mappings().one_or_none()
    if row is None:
        raise NotFound("vector store", id)
    return (await with_usage(connection, [row]))[0]


async def get_file(connection: AsyncConnection, principal: Principal, id: str, file_id: str) -> VectorStoreFile | None:
    """Returns a file in a store, if the principal may read both."""
    query = select(vector_store_files).join(vector_stores)
    query = query.where(
        vector_store_files.c.vector_store_id == id,
        vector_store_files.c.file_id == file_id,
        readable(vector_store_files, principal),
        readable(vector_stores, principal),
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return build(VectorStoreFile, row) if row is not None else None


async def get_any_file(connection: AsyncConnection, tenant: str, id: str, file_id: str) -> VectorStoreFile | None:
    """Returns a file in a store, whoever may read them."""
    query = select(vector_store_files).where(
        vector_store_files.c.vector_store_id == id,
        vector_store_files.c.file_id == file_id,
        vector_store_files.c.tenant == tenant,
    )
    row = (await connection.execute(query)).mappings().one_or_none()
    return build(VectorStoreFile, row) if row is not None else None


async def get_any_files(
    connection: AsyncConnection, tenant: str, id: str, file_ids: Sequence[str]
) -> dict[str, VectorStoreFile]:
    """Returns those of the files that are in a store, by id, whoever may read them."""
    of = vector_store_files.c
    query = select(vector_store_files).where(of.vector_store_id == id, of.file_id.in_(file_ids), of.tenant == tenant)
    return {row["file_id"]: build(VectorStoreFile, row) for row in (await connection.execute(query)).mappings()}


async def page_of_files(
    connection: AsyncConnection,
    principal: Principal,
    id: str,
    members: Select[Any] | None = None,
    *,
    status: FileStatus | None,
    after: str | None,
    limit: int,
    order: Order,
) -> Page[VectorStoreFile]:
    """Returns files of a store that the principal may read, of one status or with ids among `members` if given."""
    of = vector_store_files.c
    query = select(vector_store_files)
    within = and_(of.vector_store_id == id, readable(vector_store_files, principal))
    if status is not None:
        query = query.where(of.status == status)
    if members is not None:
        query = query.where(of.file_id.in_(members))
        within = and_(within, of.file_id.in_(members))
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
        within=within,
    )
    return build_page(VectorStoreFile, found)


async def leave_batches(connection: AsyncConnection, id: str, file_id: str) -> None:
    """Removes a file that is detached from a store from the store's batches."""
    of = select(file_batches.c.id).where(file_batches.c.vector_store_id == id)
    member = file_batch_files.c
    await connection.execute(file_batch_files.delete().where(member.file_id == file_id, member.batch_id.in_(of)))


async def set_attributes(
    connection: AsyncConnection, principal: Principal, id: str, file_id: str, attributes: dict[str, Attribute]
) -> VectorStoreFile:
    found = await get_file(connection, principal, id, file_id)
    if found is None:
        raise NotFound("vector store file", file_id)
    of = vector_store_files.c
    where = of.vector_store_id == id, of.file_id == file_id
    await connection.execute(vector_store_files.update().where(*where).values(attributes=attributes))
    await touch(connection, id, now())
    return replace(found, attributes=attributes)


async def attribute_groups(
    connection: AsyncConnection, tenant: str, id: str, known: float | None
) -> tuple[float, Groups | None]:
    """Returns the version of a store's attributes, and the ids of its files by their attributes as JSON.

    No files are returned if the version is the `known` one. Every change of attributes, and every attachment or
    detachment, changes the version, since it updates the store's activity time; it is read first, so that the files are
    never older than it.
    """
    stamp = select(vector_stores.c.last_active_at).where(vector_stores.c.id == id, vector_stores.c.tenant == tenant)
    version = (await connection.execute(stamp)).scalar() or 0.0
    if version == known:
        return version, None
    of = vector_store_files.c
    text = cast(of.attributes, Text)
    groups: Groups = {}
    for file_id, attributes in await connection.execute(
        select(of.file_id, text).where(of.vector_store_id == id, of.tenant == tenant)
    ):
        groups.setdefault(attributes, []).append(file_id)
    return version, groups


async def with_usage(connection: AsyncConnection, rows: list[RowMapping]) -> list[VectorStore]:
    """Adds file counts and usage to rows of stores, with one query for all of them."""
    table = vector_store_files.c
    query = (
        select(table.vector_store_id, table.status, func.count(), func.sum(table.usage_bytes))
        .where(table.vector_store_id.in_([row["id"] for row in rows]))
        .group_by(table.vector_store_id, table.status)
    )
    counts: dict[str, dict[str, int]] = {row["id"]: {} for row in rows}
    usage: dict[str, int] = dict.fromkeys(counts, 0)
    for id, status, number, size in await connection.execute(query):
        counts[id][status] = number
        usage[id] += int(size)
    return [
        build(VectorStore, row, file_counts=FileCounts(**counts[row["id"]]), usage_bytes=usage[row["id"]])
        for row in rows
    ]
