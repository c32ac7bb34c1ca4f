"""Writes an export that the stack knows of from its beginning to its end, so that whoever is forgotten is not in it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from serving.exports import source
from serving.exports.export import Order, Redact, export
from serving.exports.folder import ExportFolder
from serving.exports.forgetting import people
from serving.exports.manifest import ExportManifest
from serving.exports.register import Register
from serving.store.errors import StoreError
from serving.store.relational.database import Database


async def write(database: Database, order: Order, target: Path, redactor: Redact | None) -> ExportManifest:
    """Exports from the database into the folder `target`, and returns its manifest.

    An erasure that begins meanwhile waits for the end, and takes its user out then. Raises as `ExportFolder` and
    `export` do, and `StoreUnavailable`; then nothing is left, but where the database could not be told so an empty file
    beside `target`: by that the next erasure or export on this host knows that the writer is gone. Where nothing of the
    export was registered, nobody looks for that file, which has nothing in it.
    """
    register, folder = Register(database), ExportFolder(target)
    await _finish_abandoned(database, register, order.filters.tenant)
    with folder:
        try:
            await register.begin(folder, order.filters.tenant)  # before anything of anybody is read
            read = source.completions(database, order.filters)
            without_consent = await source.without_consent(database, order.filters)
            manifest = await export(read, order, folder, redactor, without_consent=without_consent)
            await register.finish(folder.id, str(manifest.people_salt), people(folder.target, manifest))
        except BaseException:
            folder.discard()  # first: what is dropped nobody looks for
            folder.marked = True
            with suppress(StoreError):
                await register.drop(folder.id)
                folder.marked = False
            raise
    return manifest


async def _finish_abandoned(database: Database, register: Register, tenant: str) -> None:
    """Finishes what earlier writers on this host left; one that cannot be finished is left to an erasure to report."""
    for one in await register.unfinished(tenant):
        with suppress(StoreError, OSError, ValueError, LookupError):
            await register.take_over(one, here=database.is_sqlite)
