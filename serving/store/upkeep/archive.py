"""Backups: one tar file with a stack's whole state, independent of the database and the storage place.

Members: `database/<table>.jsonl` with all rows, `files/…`, `collections/…`, `hub/…` for the artefacts of the model hub,
and at the end `manifest.json` with the checksum of each. An archive without its end is therefore invalid. Restoring
reads and verifies all of it before it changes anything.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy import Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from serving.config import Store
from serving.core.ids import new_id
from serving.core.uninterrupted import finish, uninterrupted
from serving.store.audit import UNLOCKED, unlocked
from serving.store.errors import StoreError, StoreUnavailable
from serving.store.jobs.pause import KEY as PAUSED
from serving.store.jobs.pause import paused
from serving.store.objects import data
from serving.store.objects.places import TEMPORARY, Place
from serving.store.objects.sealed import KEY, Sealing, is_sealed, unseal
from serving.store.relational.database import Database
from serving.store.relational.migration import HEAD
from serving.store.relational.tables import jobs as jobs_table
from serving.store.relational.tables import meta, metadata
from serving.store.upkeep.condition import BACKED_UP, Condition

ARCHIVE_FORMAT: Final = 1
MANIFEST = "manifest.json"
DATABASE = "database"
CHUNK = 1 << 20
IN_MEMORY = 8 << 20  # a larger member is buffered on disk until its size is known
ROWS = 500  # rows that are read and written at once

_KEPT = ("format", PAUSED, UNLOCKED, BACKED_UP)
"""Rows of `meta` that are specific to their database."""

Say = Callable[[str], None]


class BadArchive(StoreError):
    """The archive is damaged, incomplete, or of another version."""


class NotEmpty(StoreError):
    """The target of a restore contains data."""


class Member(BaseModel):
    """One file of the archive."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^(database|files|collections|hub)/.+")
    bytes: int = Field(ge=0)
    sha256: str


class ArchiveManifest(BaseModel):
    """The content of the archive, in the order of its members."""

    model_config = ConfigDict(extra="forbid")

    archive: int
    schema_format: int
    created_at: float
    rows: dict[str, int]
    members: list[Member]


async def backup(
    store: Store, database: Database, target: Path, *, patience_s: float, say: Say, key: bytes | None = None
) -> Path:
    """Writes an archive of a stack, which may be running, and returns its path; in a folder it is named after the time.

    With a `key` it is sealed (`serving.store.objects.sealed`). Background work is paused meanwhile. A failed backup
    leaves no archive.
    """
    if target.is_dir():
        suffix = ".tar" if key is None else ".tar.sealed"
        target = target / time.strftime(f"headrace-%Y%m%dT%H%M%SZ{suffix}", time.gmtime())
    if target.exists():
        raise NotEmpty(f"{target} exists: name another file")
    partial = target.with_name(f".{target.name}.{new_id('part')}")
    await database.require_current()
    try:
        with partial.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            sealing = Sealing(file, key) if key is not None else None
            out = file if sealing is None else cast(BinaryIO, sealing)
            with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
                async with paused(database, patience_s=patience_s, say=say) as still:
                    writer = _ArchiveWriter(tar)
                    rows = await _dump(database, writer)
                    say(f"{sum(rows.values())} rows")
                    for folder in data.FOLDERS:
                        count = await finish(asyncio.to_thread(writer.copy, folder, data.place(store, folder)))
                        say(f"{count} objects of {folder}")
                    still()
                writer.finish(rows)
            if sealing is not None:
                sealing.finish()
            file.flush()
            os.fsync(file.fileno())
        partial.rename(target)
    finally:
        partial.unlink(missing_ok=True)
    try:
        await Condition(database).note_backup()
    except StoreUnavailable as e:  # the archive is complete anyway
        say(f"the time of the backup could not be stored for metrics: {e}")
    return target


async def restore(
    store: Store, database: Database, source: Path, *, force: bool, say: Say, key: bytes | None = None
) -> ArchiveManifest:
    """Replaces the stack's data by the archive's.

    Raises `BadArchive`, `Unreadable` or `NotEmpty` before anything is changed. With `force` existing data is replaced.
    Nothing else may use the stack meanwhile.
    """
    with source.open("rb") as raw, _opened(raw, key) as file:
        manifest = check(file)
        say(f"the archive is complete: {len(manifest.members)} members, {sum(manifest.rows.values())} rows")
        await database.migrate()
        places = {folder: data.place(store, folder) for folder in data.FOLDERS}
        if not force and (holds := await _holds(database, places)):
            raise NotEmpty(f"the stack contains {holds}: restore into an empty one, or use --force to replace it")
        async with paused(database, patience_s=0, say=say):
            wanted = {member.name for member in manifest.members}
            # Existing collections are removed first: versions of old and new tables must not mix.
            await finish(asyncio.to_thread(_remove, data.COLLECTIONS, places[data.COLLECTIONS]))
            await finish(asyncio.to_thread(_fill, places, file, manifest))
            say("files, collections and artefacts are restored")
            with _reading(file) as tar:
                await _load(database, _contents(tar, manifest))
            say("rows are restored")
            for folder in (data.FILES, data.HUB):
                await finish(asyncio.to_thread(_remove, folder, places[folder], wanted))
    return manifest


def _opened(file: BinaryIO, key: bytes | None) -> BinaryIO:
    """Returns the content of an archive's file. An unsealed archive is not accepted when a key is given."""
    if not is_sealed(file):
        if key is not None:
            raise BadArchive("the archive is not sealed: omit the key if this is the right archive")
        return file
    if key is None:
        raise BadArchive("the archive is sealed: name its key with --key")
    return unseal(file, key)


def check(file: BinaryIO) -> ArchiveManifest:
    """Reads all of an archive and returns its manifest; raises `BadArchive` if any byte was changed."""
    found: dict[str, tuple[int, str]] = {}
    manifest: ArchiveManifest | None = None
    try:
        with _reading(file) as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isreg() else None
                if content is None or info.name in found:
                    raise BadArchive(f"the archive contains {info.name} twice, or it is not a file")
                if info.name == MANIFEST:
                    manifest = ArchiveManifest.model_validate_json(content.read())
                else:
                    found[info.name] = _digest(content)
    except (tarfile.TarError, EOFError, OSError, ValidationError) as e:
        raise BadArchive(f"the archive is damaged or incomplete: {type(e).__name__}: {str(e).splitlines()[0]}") from e
    if manifest is None:
        raise BadArchive("the archive is incomplete: its end is missing")
    if manifest.archive != ARCHIVE_FORMAT:
        raise BadArchive(f"the archive has format {manifest.archive}, and this Headrace reads {ARCHIVE_FORMAT}")
    if manifest.schema_format != HEAD:
        raise BadArchive(
            f"the archive's rows have format {manifest.schema_format}, and this Headrace writes {HEAD}: restore it "
            "with the Headrace that wrote it, then upgrade"
        )
    noted = {member.name: (member.bytes, member.sha256) for member in manifest.members}
    if wrong := sorted(name for name in noted.keys() | found.keys() if noted.get(name) != found.get(name)):
        raise BadArchive(
            f"the archive is damaged: {len(wrong)} members differ from its manifest, the first is {wrong[0]}"
        )
    if climbing := next((name for name in noted if {"", ".", ".."} & set(name.split("/"))), None):
        raise BadArchive(f"the archive contains {climbing}")
    return manifest


class _ArchiveWriter:
    """Adds members to an archive and records their checksums."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._members: list[Member] = []

    def add(self, name: str, content: BinaryIO) -> None:
        """Adds the rest of `content`, whose size need not be known."""
        digest = hashlib.sha256()
        with _Spill() as spill:
            while chunk := content.read(CHUNK):
                digest.update(chunk)
                spill.write(chunk)
            self._tar.addfile(_info(name, spill.size), spill.content())
            self._members.append(Member(name=name, bytes=spill.size, sha256=digest.hexdigest()))

    def copy(self, folder: str, place: Place) -> int:
        """Adds every content of a place; contents deleted meanwhile are skipped. Returns their number."""
        count = 0
        for name, _ in place.names():
            if name.rpartition("/")[2].startswith(TEMPORARY):
                continue
            with suppress(FileNotFoundError), place.open(name) as content:
                self.add(f"{folder}/{name}", content)
                count += 1
        return count

    def finish(self, rows: dict[str, int]) -> None:
        manifest = ArchiveManifest(
            archive=ARCHIVE_FORMAT,
            schema_format=HEAD,
            created_at=time.time(),
            rows=rows,
            members=self._members,
        )
        with _Spill() as spill:
            spill.write(manifest.model_dump_json().encode())
            self._tar.addfile(_info(MANIFEST, spill.size), spill.content())


class _Spill:
    """A buffer for data of unknown size: in memory, or on disk once it is large.

    On disk it is encrypted with a key that only this process has, so that a sealed backup leaves nothing readable.
    """

    def __init__(self) -> None:
        self._file = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115  # by __exit__
        self._key = secrets.token_bytes(KEY)
        self._sealing = Sealing(self._file, self._key)

    def __enter__(self) -> _Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        return self._sealing.tell()

    def write(self, content: bytes) -> None:
        self._sealing.write(content)

    def content(self) -> BinaryIO:
        """Returns a reader of the written data; nothing is written afterwards."""
        self._sealing.finish()
        return unseal(self._file, self._key)


@uninterrupted
async def _dump(database: Database, writer: _ArchiveWriter) -> dict[str, int]:
    """Adds every table in a single consistent state. Returns the number of rows of each."""
    rows: dict[str, int] = {}
    async with database.read() as connection:
        for table in metadata.sorted_tables:
            with _Spill() as spill:
                rows[table.name] = 0
                found = await connection.stream(select(table))
                async for row in found.mappings():
                    if table is meta and row["key"] in _KEPT:
                        continue
                    spill.write(json.dumps(dict(row), separators=(",", ":")).encode() + b"\n")
                    rows[table.name] += 1
                writer.add(f"{DATABASE}/{table.name}.jsonl", spill.content())
    return rows


@uninterrupted
async def _load(database: Database, members: Iterator[tuple[Member, BinaryIO]]) -> None:
    """Replaces every row, in one transaction."""
    async with database.write() as connection, unlocked(connection, "restore"):
        for table in reversed(metadata.sorted_tables):
            await connection.execute(table.delete() if table is not meta else meta.delete().where(~_is_kept_key()))
        tables = {f"{DATABASE}/{table.name}.jsonl": table for table in metadata.sorted_tables}
        for member, content in members:  # in the order of their references, in which they were written
            if member.name in tables:
                await _insert(connection, tables[member.name], content)
        if connection.dialect.name == "postgresql":
            # Numbers are the archive's; the next one continues after them.
            highest = (await connection.execute(select(func.max(jobs_table.c.seq)))).scalar()
            if highest is not None:
                await connection.execute(
                    text("SELECT setval(pg_get_serial_sequence('jobs', 'seq'), :highest)"), {"highest": highest}
                )


async def _insert(connection: AsyncConnection, table: Table, lines: BinaryIO) -> None:
    rows: list[dict[str, Any]] = []
    for line in lines:
        rows.append(json.loads(line))
        if len(rows) == ROWS:
            await connection.execute(insert(table), rows)
            rows = []
    if rows:
        await connection.execute(insert(table), rows)


def _is_kept_key() -> Any:
    return meta.c.key.in_(_KEPT)


@uninterrupted
async def _holds(database: Database, places: dict[str, Place]) -> str:
    """Returns which data exists, as text; a new stack's own key, user and audit log do not count."""
    async with database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name not in ("meta", "keys", "tenants", "users", "audit", "audit_pseudonyms"):
                count = (await connection.execute(select(func.count()).select_from(table))).scalar_one()
                if count:
                    return f"{count} rows of {table.name}"
    for folder, place in places.items():
        if name := next((name for name, _ in place.names()), None):
            return f"{folder}/{name}"
    return ""


def _remove(folder: str, place: Place, wanted: set[str] | None = None) -> None:
    for name, _ in place.names():
        if wanted is None or f"{folder}/{name}" not in wanted:
            place.delete(name)


def _fill(places: dict[str, Place], file: BinaryIO, manifest: ArchiveManifest) -> None:
    with _reading(file) as tar:
        for member, content in _contents(tar, manifest):
            folder, _, name = member.name.partition("/")
            if folder in places:
                _write(places[folder], name, content)


def _write(place: Place, name: str, content: BinaryIO) -> None:
    writing = place.create(name)
    try:
        while chunk := content.read(CHUNK):
            writing.append(chunk)
        writing.publish()
    finally:
        writing.discard()


def _reading(file: BinaryIO) -> tarfile.TarFile:
    file.seek(0)
    return tarfile.open(fileobj=file, mode="r:")


def _contents(tar: tarfile.TarFile, manifest: ArchiveManifest) -> Iterator[tuple[Member, BinaryIO]]:
    """Yields the members of an archive that has been verified."""
    noted = {member.name: member for member in manifest.members}
    for info in tar:
        if member := noted.get(info.name):
            yield member, cast(BinaryIO, tar.extractfile(info))


def _digest(content: Any) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while chunk := content.read(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o600, int(time.time())
    return info
