"""Synchronises a collection with documents, or only compares them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import httpx

from serving.ingest.collection import Collection, IngestRefused, SourceFile, at_once

INGEST_S = 600
"""Maximum wait for the next document to be ingested."""

LOOK_S = 0.2

GOING_WELL = ("completed", "in_progress")


class Progress(Protocol):
    """Reports progress to the caller."""

    def say(self, message: str, /) -> None: ...

    def pause(self, seconds: float, /) -> None:
        """Waits; raises when the operation is cancelled."""


def reconcile(
    client: httpx.Client,
    name: str,
    root: Path,
    wanted: Mapping[str, str],
    progress: Progress,
    *,
    restricted: bool = False,
) -> tuple[str, dict[str, str], dict[str, str]]:
    """Makes the collection `name` equal to `wanted` (path below `root` -> SHA-256).

    One that is `restricted` is nobody else's to read through the API, nor are its files. Returns its id, what is
    ingested (path -> SHA-256) and what failed (path -> reason). A new version is complete before the old one goes, so
    that a question finds the one or the other. Of what is equal already, only the time of the check is written.
    """
    collection = Collection.find(client, name) or Collection.make(client, name, restricted=restricted)
    collection.settle(restricted=restricted)
    before = collection.documents()
    equal = [d for d in before if wanted.get(d.path) == d.sha256 and d.restricted == restricted]
    files = {d.path: d.file_id for d in equal if d.status in GOING_WELL}
    missing = {p: s for p, s in wanted.items() if p not in files}
    added, failed = _add(collection, root, missing, progress, restricted=restricted)
    files |= added
    failed |= _await(collection, files, progress)
    ingested = {path: sha for path, sha in sorted(wanted.items()) if path not in failed}
    kept = {files[path] for path in ingested}
    old = [d.file_id for d in before if d.file_id not in kept and d.path not in failed]
    at_once(collection.remove, [*old, *(files[path] for path in failed if path in files)])
    if not failed:
        collection.note_check()
    return collection.id, ingested, failed


def check(client: httpx.Client, name: str, wanted: Mapping[str, str]) -> bool:
    """If the collection `name` equals `wanted` (path -> SHA-256), records that it was checked; changes nothing else.

    Returns whether it does. Raises `IngestError`.
    """
    collection = Collection.find(client, name)
    if collection is None:
        return False
    there = collection.documents()
    equal = {d.path: d.sha256 for d in there if d.status == "completed"} == wanted and len(there) == len(wanted)
    if equal:
        collection.note_check()
    return equal


def failures(name: str, documents: int, failed: Mapping[str, str]) -> str:
    """Returns lines that list the failed documents, with the reasons."""
    lines = "".join(f"\n  {path}: {reason}" for path, reason in sorted(failed.items()))
    return f"{len(failed)} of {documents} documents of '{name}' failed:{lines}"


def _add(
    collection: Collection, root: Path, documents: Mapping[str, str], progress: Progress, *, restricted: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Uploads documents (path -> SHA-256); returns the file ids, and the reasons of failures, by path."""
    files: dict[str, str] = {}
    failed: dict[str, str] = {}

    def add(path: str) -> None:
        progress.pause(0)
        try:
            files[path] = collection.add(path, _read_file(root / path, documents[path]), restricted=restricted)
        except IngestRefused as e:
            failed[path] = str(e)

    at_once(add, sorted(documents), lambda count: progress.say(f"uploaded {count}"))
    return files, failed


def _read_file(file: Path, sha: str) -> bytes:
    try:
        content = file.read_bytes()
    except OSError as e:
        raise IngestRefused(f"cannot be read: {e.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha:
        raise IngestRefused("changed while it was read; try again")
    return content


def _await(collection: Collection, files: Mapping[str, str], progress: Progress) -> dict[str, str]:
    """Waits until every file (path -> id) is ingested; returns the reasons of failures, by path."""
    left: set[str] | None = None
    progressed = time.monotonic()
    while waiting := collection.in_progress() & set(files.values()):
        if waiting != left:
            left, progressed = waiting, time.monotonic()
            progress.say(f"ingested {len(files) - len(waiting)} of {len(files)}")
        if time.monotonic() - progressed > INGEST_S:
            break
        progress.pause(LOOK_S)
    ended = {d.file_id: d for d in collection.documents()}
    return {path: reason for path, id in files.items() if (reason := _failure(ended.get(id)))}


def _failure(document: SourceFile | None) -> str:
    if document is None:
        return "was removed during its ingestion"
    if document.status == "completed":
        return ""
    if document.status == "in_progress":
        return f"not ingested after {INGEST_S} s"
    return document.error or f"status {document.status}"
