"""Removes a user from a published export: the rows made from the user's completions or ratings."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path

import orjson

from serving.core.ids import new_id
from serving.exports.manifest import MANIFEST, ExportedFile, ExportManifest, Raters
from serving.store.errors import StoreError


class CannotForget(StoreError):
    """The folder does not record the users of its rows; the message says what to do."""


def person(salt: str, tenant: str, user: str) -> str:
    """Returns the hash of a user for one export, by its salt."""
    return hmac.digest(bytes.fromhex(salt), f"{tenant}\0{user}".encode(), "sha256").hex()[:32]


def people(folder: Path, manifest: ExportManifest) -> set[str]:
    """Returns the hashes of all users whose data is in an export, as by `person`."""
    found: set[str] = set()
    for file in manifest.files:
        if file.kind == "lineage":
            with (folder / file.name).open("rb") as lines:
                found.update(*(orjson.loads(line)["people"] for line in lines))
    return found


def forget(folder: Path, tenant: str, user: str) -> int:
    """Removes the rows of a user from an export, and returns their number. It can be repeated after a crash.

    Raises `CannotForget` for a folder that is not an export, or is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = ExportManifest.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as e:
        raise CannotForget(f"{folder} is not a complete export: delete it ({type(e).__name__})") from None
    if manifest.filters.tenant != tenant:
        return 0
    if manifest.people_salt is None:
        raise CannotForget(
            f"{folder} was written by an earlier version of Headrace, without the users of its rows: delete it"
        )
    gone, files = 0, []
    this = person(manifest.people_salt, tenant, user)
    lineages = {file.split: file for file in manifest.files if file.kind == "lineage"}
    for file in manifest.files:
        if file.kind == "rows":
            removed, left = _forget(folder, (file, lineages[file.split]), this)
            gone += removed
            files += left
    forgotten = manifest.forgotten + gone
    counts = manifest.counts.model_copy(update={"rows": sum(file.rows for file in files if file.kind == "rows")})
    changed = manifest.model_copy(
        update={"files": tuple(files), "counts": counts, "forgotten": forgotten, "raters": _without(manifest, this)}
    )
    _replace(path, changed.model_dump_json(indent=2).encode() + b"\n")
    return gone


def _without(manifest: ExportManifest, this: str) -> Raters | None:
    """Returns the manifest's raters without one of them."""
    if manifest.raters is None:
        return None
    left = tuple(rater for rater in manifest.raters.raters if rater.rater != this)
    return manifest.raters.model_copy(update={"raters": left})


def _forget(folder: Path, pair: tuple[ExportedFile, ExportedFile], this: str) -> tuple[int, list[ExportedFile]]:
    """Removes rows and their lineage, and files without remaining rows. Returns the number of rows, and the remaining
    files.
    """
    try:
        rows, lineage = [(folder / file.name).read_bytes().splitlines(keepends=True) for file in pair]
        kept = [(row, of) for row, of in zip(rows, lineage, strict=True) if this not in orjson.loads(of)["people"]]
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise CannotForget(f"{folder} is damaged: delete it, and export again ({type(e).__name__})") from None
    left = []
    for file, lines in zip(pair, zip(*kept, strict=True) if kept else ((), ()), strict=True):
        content = b"".join(lines)
        if not content:
            (folder / file.name).unlink()
            continue
        if len(kept) != len(rows):
            _replace(folder / file.name, content)
        digest = hashlib.sha256(content).hexdigest()
        left.append(file.model_copy(update={"rows": len(kept), "bytes": len(content), "sha256": digest}))
    return len(rows) - len(kept), left


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{new_id('part')}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
