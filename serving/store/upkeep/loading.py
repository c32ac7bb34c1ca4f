"""Files that were ingested outside of the API: their rows, and what goes into the index, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from serving.core.ids import new_id, now
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import values
from serving.store import vector_store as rows
from serving.store.access import Access, listed
from serving.store.errors import Conflict
from serving.store.relational.database import Database
from serving.store.relational.postgres import lock
from serving.store.relational.tables import UNFINISHED, files, jobs, vector_store_files
from serving.store.vector_store import INGEST
from serving.store.vector_stores import MAX_PAGE

PURPOSE = "assistants"


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file whose content is in `Blobs`. `path` and `sha256` become its attributes, as of a folder's documents."""

    id: str
    path: str
    sha256: str
    bytes: int
    kind: str
    usage_bytes: int


@uninterrupted
async def attached(database: Database, principal: Principal, store_id: str) -> dict[str, str]:
    """Returns path -> SHA-256 of the files that are in the store completely. Raises `NotFound` or `NotOwner`."""
    of = vector_store_files.c
    where = of.vector_store_id == store_id, of.tenant == principal.tenant, of.status == "completed"
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
async def attach(
    database: Database,
    principal: Principal,
    store_id: str,
    loaded: Sequence[LoadedFile],
    access: Access | None,
    write: Callable[[], Awaitable[object]],
) -> None:
    """Writes files into the index by `write`, and their rows, as completely ingested.

    Both or neither is seen by those who list files; an index that was written before a crash is written again. No
    work on the whole index begins meanwhile. Raises `Conflict` while such work runs, `NotFound` and `NotOwner`.
    """
    at, names = now(), listed(access, principal.user)
    async with database.write() as connection:
        await lock(connection, "group", store_id)
        await rows.require_change(connection, principal, store_id)
        # What is queued is not claimed as long as it is locked here, and with the group's lock nothing comes along.
        of = jobs.c
        work = select(of.kind, of.lease_until).where(of.group_key == store_id, of.kind != INGEST, UNFINISHED)
        for kind, until in await connection.execute(work.with_for_update()):
            if until is not None and until > at:
                raise Conflict(f"{kind} works on the collection's index")
        await write()
        await connection.execute(files.insert(), [_file(principal, file, names, at) for file in loaded])
        attachments = [_attachment(principal, store_id, file, names, at) for file in loaded]
        await connection.execute(vector_store_files.insert(), attachments)
        await rows.touch(connection, store_id, at)


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
        "access": names,
        "error_code": None,
        "error_message": None,
        "job_id": new_id("job"),  # of no job: nothing is left to do
        "created_at": at,
    }
