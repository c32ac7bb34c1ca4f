"""Writes an export that is registered from beginning to end, so that erased users are removed from it."""

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

    An erasure that begins meanwhile waits for the end, and then removes its user. Raises as `ExportFolder` and `export`
    do, and `StoreUnavailable`; then nothing remains, except, if the database could not be updated, an empty file beside
    `target`, by which the next erasure or export on this host knows that the writer has ended. If the export was not
    registered, the empty file is never needed.
    """
    register, folder = Register(database), ExportFolder(target)
    await _finish_abandoned(database, register, order.filters.tenant)
    with folder:
        try:
            await register.begin(folder, order.filters.tenant)  # before any user's data is read
            read = source.completions(database, order.filters)
            without_consent = await source.without_consent(database, order.filters)
            manifest = await export(read, order, folder, redactor, without_consent=without_consent)
            await register.finish(folder.id, str(manifest.people_salt), people(folder.target, manifest))
        except BaseException:
            folder.discard()  # first: files of a dropped export would never be found
            folder.marked = True
            with suppress(StoreError):
                await register.drop(folder.id)
                folder.marked = False
            raise
    return manifest


async def _finish_abandoned(database: Database, register: Register, tenant: str) -> None:
    """Finishes exports of writers that died on this host; those that cannot be finished are reported by erasures."""
    for one in await register.unfinished(tenant):
        with suppress(StoreError, OSError, ValueError, LookupError):
            await register.take_over(one, here=database.is_sqlite)
