"""Files that were ingested without the API: their rows and index entries, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store import vector_store as rows
from serving.store.access import Access, listed
from serving.store.errors import Conflict, StoreError
from serving.store.files import DELETE_BLOB
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.tables import UNFINISHED, files, jobs, vector_store_files, vector_stores
from serving.store.upkeep.indexes import read_indexes
from serving.store.vector_store import INGEST, MAX_PAGE, UNINDEX

PURPOSE = "assistants"


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file whose content is in `Blobs`. `path` and `sha256` become its attributes, as for a folder's documents.

    `extraction` is that of `VectorStoreFile`.
    """

    id: str
    path: str
    sha256: str
    bytes: int
    kind: str
    usage_bytes: int
    extraction: dict[str, int] | None = None


class IndexReplaced(StoreError):
    """The index that a load writes to is no longer the searched one, or is about to be replaced."""


@uninterrupted
async def attached(database: Database, principal: Principal, store_id: str) -> dict[str, str]:
    """Returns path -> SHA-256 of the store's files, including failed ones and those being ingested.

    Raises `NotFound` or `NotOwner`.
    """
    of = vector_store_files.c
    where = of.vector_store_id == store_id, of.tenant == principal.tenant
    query = select(of.file_id, of.attributes).where(*where).order_by(of.file_id).limit(MAX_PAGE * 100)
    found: dict[str, str] = {}
    async with database.read() as connection:
        await rows.require_change(connection, principal, store_id)
        last = ""
        while page := (await connection.execute(query.where(of.file_id > last))).all():
            last = page[-1].file_id
            for row in page:
                path, sha = row.attributes.get("path"), row.attributes.get("sha256")
                if isinstance(path, str) and isinstance(sha, str):
                    found[path] = sha
    return found


@uninterrupted
async def known(database: Database, principal: Principal, store_id: str, ids: Collection[str]) -> set[str]:
    """Returns those of the files that have a row. Raises `Conflict` while one of them is still being removed."""
    async with database.read() as connection:
        return await _known(connection, principal, store_id, ids)


@uninterrupted
async def attach(
    database: Database,
    principal: Principal,
    store_id: str,
    index: str,
    loaded: Sequence[LoadedFile],
    access: Access | None,
    already: Collection[str],
    write: Callable[[], Awaitable[object]],
) -> None:
    """Writes files to the `index` of that name by `write`, and their rows, as completely ingested.

    Readers of the rows see both or neither; an index that was written before a crash is written again. No work on the
    whole index can begin meanwhile. `already` are those that were `known` before their contents were written. Raises
    `Conflict` while such work runs, or if one of the files was deleted since then or is being deleted; `IndexReplaced`,
    `NotFound` and `NotOwner`.
    """
    at, names, ids = now(), listed(access, principal.user), [file.id for file in loaded]
    new = {file.id: _file(principal, file, names, at) for file in loaded}
    attachments = {file.id: _attachment(principal, store_id, file, names, at) for file in loaded}
    async with database.write() as connection:
        await _alone(connection, principal, store_id, index, at)
        found = await _known(connection, principal, store_id, ids, locked=True)
        if found != set(already):
            raise Conflict("files of the collection were added or removed")
        of = vector_store_files.c
        there = select(of.file_id).where(of.vector_store_id == store_id, of.file_id.in_(ids))
        inside = set((await connection.execute(there)).scalars())
        await write()
        for table, values_of, left_out in ((files, new, found), (vector_store_files, attachments, inside)):
            if added := [row for id, row in values_of.items() if id not in left_out]:
                await connection.execute(table.insert(), added)
        await rows.touch(connection, store_id, at)


@uninterrupted
async def clear(
    database: Database,
    principal: Principal,
    store_id: str,
    index: str,
    indexed: Collection[str],
    remove: Callable[[Collection[str]], Awaitable[object]],
) -> None:
    """Removes, by `remove`, those of the `indexed` files for which the store has no row.

    A load that was killed between writing the index and the rows leaves them. Raises as `attach` does.
    """
    of = vector_store_files.c
    async with database.write() as connection:
        await _alone(connection, principal, store_id, index, now())
        inside = select(of.file_id).where(of.vector_store_id == store_id, of.tenant == principal.tenant)
        if left := set(indexed) - set((await connection.execute(inside)).scalars()):
            await remove(left)


async def _alone(connection: AsyncConnection, principal: Principal, store_id: str, index: str, at: float) -> None:
    """Excludes other work on the whole index until the transaction ends."""
    await lock(connection, "group", store_id)
    await rows.require_change(connection, principal, store_id)
    stored = select(vector_stores.c.indexes).where(vector_stores.c.id == store_id).with_for_update()
    names = read_indexes(store_id, (await connection.execute(stored)).scalar())
    if names.written != (index,):
        raise IndexReplaced("the collection is being re-indexed for another embedder; try again afterwards")
    # Queued jobs cannot be claimed while they are locked here, and the group's lock blocks new ones.
    of = jobs.c
    work = select(of.kind, of.lease_until).where(of.group_key == store_id, of.kind != INGEST, UNFINISHED)
    for kind, until in await connection.execute(work.with_for_update()):
        if until is not None and until > at:
            raise Conflict(f"a job {kind} is working on the collection's index")


async def _known(
    connection: AsyncConnection, principal: Principal, store_id: str, ids: Collection[str], *, locked: bool = False
) -> set[str]:
    of = jobs.c
    leaving = select(of.group_item).where(of.group_key == store_id, of.kind == UNINDEX, UNFINISHED)
    going = set((await connection.execute(leaving)).scalars())
    removed = select(of.payload).where(of.tenant == principal.tenant, of.kind == DELETE_BLOB, UNFINISHED)
    going |= {payload["file_id"] for payload in (await connection.execute(removed)).scalars()}
    if going.intersection(ids):
        raise Conflict("files to load are still being removed")
    there = select(files.c.id).where(files.c.id.in_(ids))
    if locked:  # locked against deletion
        there = there.with_for_update()
    return set((await connection.execute(there)).scalars())


def _file(principal: Principal, file: LoadedFile, names: list[str] | None, at: float) -> dict[str, object]:
    return {
        "id": file.id,
        "tenant": principal.tenant,
        "user": principal.user,
        "filename": values.text("filename", file.path.rpartition("/")[2], min_length=1),
        "purpose": PURPOSE,
        "status": "processed",
        "bytes": file.bytes,
        "sha256": file.sha256,
        "kind": file.kind,
        "access": names,
        "created_at": at,
    }


def _attachment(
    principal: Principal, store_id: str, file: LoadedFile, names: list[str] | None, at: float
) -> dict[str, object]:
    return {
        "vector_store_id": store_id,
        "file_id": file.id,
        "tenant": principal.tenant,
        "status": "completed",
        "attributes": values.attributes("attributes", {"path": file.path, "sha256": file.sha256}),
        "chunking": {},
        "usage_bytes": file.usage_bytes,
        "extraction": file.extraction,
        "access": names,
        "error_code": None,
        "error_message": None,
        "job_id": new_id("job"),  # without a job: nothing remains to be done
        "created_at": at,
    }
