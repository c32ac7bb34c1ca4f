"""Attaches files to a vector store: in one transaction, with a number of statements independent of that of files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.store import values
from serving.store import vector_store as rows
from serving.store.access import Access, listed, readable, require_owner, require_owner_to_open
from serving.store.errors import NotFound
from serving.store.jobs.queue import Jobs
from serving.store.quotas import Meter
from serving.store.relational.postgres import lock
from serving.store.relational.tables import files, vector_store_files
from serving.store.vector_store import INGEST, VectorStoreFile

Unchanged = Literal["unchanged"]

MeterOf = Callable[[int, int], Meter]
"""Returns the meter for a number of files and their bytes."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to attach to a store; `chunking` is the caller's strategy as given."""

    file_id: str
    attributes: Mapping[str, object] | None = None
    chunking: dict[str, Any] | None = None
    access: Access | Unchanged | None = "unchanged"


async def attach(
    connection: AsyncConnection,
    jobs: Jobs,
    principal: Principal,
    id: str,
    asked: Sequence[NewFile],
    meter: MeterOf | None,
) -> list[VectorStoreFile]:
    """Attaches files, each named once, to the store `id`, and enqueues their ingestion; returns them in their order.

    An attached file stays unchanged, unless it had failed or was cancelled, or its attributes, chunking or access list
    change: then it is ingested again. Its access list is initially the file's own, and only the file's owner can set
    another. `meter` gets the files to ingest and their bytes. Raises `NotFound` for the store or a file, `NotOwner`,
    `InvalidValue`, and `QuotaExceeded` if the meter does.
    """
    ids = [each.file_id for each in asked]
    checked = [values.attributes("attributes", each.attributes) for each in asked]
    # Files are locked before the store, as in a file's deletion, and in one order, to prevent deadlocks.
    mine = select(files.c.id, files.c.user, files.c.access, files.c.bytes).where(
        files.c.id.in_(ids), readable(files, principal)
    )
    locked = mine.order_by(files.c.id).with_for_update(read=True, key_share=True)
    there = {row["id"]: row for row in (await connection.execute(locked)).mappings()}
    await lock(connection, "group", id)
    await rows.require_change(connection, principal, id)
    for file_id in ids:
        if file_id not in there:
            raise NotFound("file", file_id)
    old = await rows.get_any_files(connection, principal.tenant, id, ids)
    at = now()
    found, fresh, replaced = [], [], []
    for each, attributes in zip(asked, checked, strict=True):
        row = _row(principal, id, each, attributes, there[each.file_id], old.get(each.file_id), at)
        before = old.get(each.file_id)
        if before is not None:
            same = all(row[name] == getattr(before, name) for name in ("attributes", "chunking", "access"))
            if same and before.status in ("in_progress", "completed"):
                found.append(before)
                continue
            replaced.append(before)
        fresh.append(row)
        found.append(VectorStoreFile(**row))
    if not fresh:
        return found
    for before in replaced:
        await remove(connection, jobs, principal, before)
    if meter is not None:
        size = sum(there[row["file_id"]]["bytes"] for row in fresh)
        await connection.run_sync(meter(len(fresh), size))
    work = [(row["job_id"], {"vector_store_id": id, "file_id": row["file_id"]}, (id, row["file_id"])) for row in fresh]
    await jobs.enqueue_all(principal, INGEST, work, connection)
    await connection.execute(vector_store_files.insert(), fresh)
    await rows.touch(connection, id, at)
    return found


async def remove(connection: AsyncConnection, jobs: Jobs, principal: Principal, file: VectorStoreFile) -> None:
    """Removes a file's row, and cancels its ingestion."""
    if file.status == "in_progress":
        await jobs.cancel(principal, file.job_id, connection=connection)
    of = vector_store_files.c
    where = of.vector_store_id == file.vector_store_id, of.file_id == file.file_id
    await connection.execute(vector_store_files.delete().where(*where))


def _row(
    principal: Principal,
    id: str,
    asked: NewFile,
    attributes: dict[str, values.Attribute],
    there: RowMapping,
    old: VectorStoreFile | None,
    at: float,
) -> dict[str, Any]:
    if asked.access != "unchanged":
        require_owner(principal, there["user"])
        names = listed(asked.access, there["user"] or principal.user)
        require_owner_to_open(principal, there["user"], old.access if old is not None else there["access"], names)
    else:
        names = old.access if old is not None else there["access"]
    return {
        "vector_store_id": id,
        "file_id": asked.file_id,
        "tenant": principal.tenant,
        "status": "in_progress",
        "attributes": attributes,
        "chunking": asked.chunking or {},
        "usage_bytes": 0,
        "extraction": None,
        "access": names,
        "error_code": None,
        "error_message": None,
        "job_id": new_id("job"),
        "created_at": old.created_at if old is not None else at,
    }
