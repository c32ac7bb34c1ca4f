"""Synchronises a collection with documents, or only compares them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import httpx

from serving.ingest.collection import Collection, IngestRefused, SourceFile, at_once
from serving.ingest.source import DocumentSource

INGEST_S = 600
"""Maximum wait for the next document to be ingested."""

LOOK_S = 0.2


class Progress(Protocol):
    """Reports progress to the caller."""

    def say(self, message: str, /) -> None: ...

    def pause(self, seconds: float, /) -> None:
        """Waits; raises when the operation is cancelled."""


@dataclass(frozen=True)
class Synchronised:
    """`id` is the collection's, `ingested` maps paths to versions, `failed` paths to reasons.

    `cut` is why the source's listing was not complete, so that nothing was removed.
    """

    id: str
    ingested: Mapping[str, str]
    failed: Mapping[str, str]
    cut: str = ""


def reconcile(
    client: httpx.Client, name: str, source: DocumentSource, progress: Progress, *, restricted: bool = False
) -> Synchronised:
    """Makes the collection `name` equal to `source`.

    One that is `restricted` is nobody else's to read through the API, nor are its files. A new version is complete
    before the old one goes, so that a question finds the one or the other. Of what is equal already, only the time of
    the check is written. A document with a new version and its old content is not ingested again. Raises
    `IngestError`; what was ingested until then is not ingested again by the next call.
    """
    collection = Collection.find(client, name)
    before = collection.documents() if collection else []
    listing = source.listing({d.path: d.version for d in before if d.restricted == restricted and _goes_well(d)})
    wanted = listing.versions
    collection = collection or Collection.make(client, name, restricted=restricted)
    collection.settle(restricted=restricted)
    alike = [d for d in before if d.restricted == restricted]
    equal = [d for d in alike if wanted.get(d.path) == d.version]
    files = {d.path: d.file_id for d in equal if _goes_well(d)}
    missing = {p: version for p, version in wanted.items() if p not in files}
    there = {d.path: d for d in alike if d.path in missing and _goes_well(d)}
    added, failed = _add(collection, source, missing, there, progress, restricted=restricted)
    files |= added
    failed |= _await(collection, files, progress)
    failed |= {path: reason for path, reason in listing.failed.items() if path not in wanted}
    ingested = {path: version for path, version in sorted(wanted.items()) if path not in failed}
    kept = {files[path] for path in ingested}
    gone = before if not listing.cut else [d for d in before if d.path in ingested]
    old = [d.file_id for d in gone if d.file_id not in kept and d.path not in failed]
    at_once(collection.remove, [*old, *(files[path] for path in failed if path in files)])
    if not failed and not listing.cut:
        collection.note_check()
    return Synchronised(collection.id, ingested, failed, listing.cut)


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


def _goes_well(document: SourceFile) -> bool:
    return document.status in ("completed", "in_progress")


def _add(
    collection: Collection,
    source: DocumentSource,
    documents: Mapping[str, str],
    there: Mapping[str, SourceFile],
    progress: Progress,
    *,
    restricted: bool,
) -> tuple[dict[str, str], dict[str, str]]:
    """Uploads documents (path -> version) unless their content is `there` already, by path.

    Returns the file ids, and the reasons of failures, by path.
    """
    files: dict[str, str] = {}
    failed: dict[str, str] = {}

    def add(path: str) -> None:
        progress.pause(0)
        try:
            content = source.read(path, documents[path])
            same = there.get(path)
            if same and same.sha256 == hashlib.sha256(content).hexdigest():
                collection.note_version(same, documents[path])
                files[path] = same.file_id
            else:
                files[path] = collection.add(path, documents[path], content, restricted=restricted)
        except IngestRefused as e:
            failed[path] = str(e)

    at_once(add, sorted(documents), lambda count: progress.say(f"uploaded {count}"))
    return files, failed


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
