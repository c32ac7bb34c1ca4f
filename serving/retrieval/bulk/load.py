"""The load of a folder into a collection: finds the documents that remain, and commits them in repeatable steps.

A file's id is derived from the collection, the path and the content. A batch is committed in this order: contents, then
in one transaction the index and the rows. A load that was killed before the rows were written repeats the batch with
the same ids, so that each document is in the index exactly once; documents with rows are skipped by the next run.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from serving.core.principal import Principal
from serving.retrieval.bulk.prepare import PreparedDocument, Source
from serving.retrieval.chunk_table import IndexedFile
from serving.retrieval.index import CollectionIndex
from serving.retrieval.parsers import folder_extensions
from serving.store.access import Access, listed
from serving.store.errors import Conflict
from serving.store.objects.blobs import Blobs
from serving.store.relational.database import Database
from serving.store.upkeep import loading
from serving.store.upkeep.loading import LoadedFile

BUSY_S = 0.5
"""Interval of checks whether other work on the index has ended."""


@dataclass
class LoadOutcome:
    """Results by document; `failed` has the reason and `changed` the new SHA-256, by path."""

    documents: int = 0
    chunks: int = 0
    there: int = 0
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LoadTarget:
    """The collection that documents are loaded into, and who may read them there."""

    database: Database
    blobs: Blobs
    index_name: str
    index: CollectionIndex
    principal: Principal
    store_id: str
    access: Access | None


def find(folder: Path) -> Iterator[Source]:
    """Yields the documents below a folder by path, without hidden, empty and unsupported files."""
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(f for f in files if not f.startswith(".")):
            path = Path(parent, name)
            if path.suffix.lower() in folder_extensions() and (content := path.read_bytes()):
                yield Source(path.relative_to(folder).as_posix(), hashlib.sha256(content).hexdigest())


def split(sources: Iterable[Source], there: dict[str, str]) -> tuple[list[Source], LoadOutcome]:
    """Returns the documents that remain, and those already loaded. A changed document is not loaded beside its old
    version.
    """
    left, outcome = [], LoadOutcome()
    for source in sources:
        sha = there.get(source.path)
        if sha is None:
            left.append(source)
        elif sha == source.sha256:
            outcome.there += 1
        else:
            outcome.failed[source.path] = (
                "is already loaded with other content; remove it, or use `python -m serving.ingest`"
            )
    return left, outcome


async def load(
    target: LoadTarget,
    folder: Path,
    documents: Iterator[PreparedDocument],
    outcome: LoadOutcome,
    together: int,
    progress: Callable[[LoadOutcome], None],
) -> None:
    """Commits documents as they become ready, in batches of `together`, and adds them to the outcome."""
    batches = _batches(documents, together)
    while batch := await asyncio.to_thread(next, batches, ()):
        outcome.failed |= {document.source.path: document.error for document in batch if document.error}
        if ready := [document for document in batch if not document.error]:
            await _commit(target, folder, ready, outcome)
        progress(outcome)


def _batches(documents: Iterable[PreparedDocument], together: int) -> Iterator[Sequence[PreparedDocument]]:
    batch: list[PreparedDocument] = []
    for document in documents:
        batch.append(document)
        if len(batch) == together:
            yield batch
            batch = []
    if batch:
        yield batch


async def clear(target: LoadTarget) -> None:
    """Removes from the index the files without rows, which a load left that was killed before it wrote them."""
    tenant = target.principal.tenant

    def remove(left: Collection[str]) -> None:
        for id in left:
            target.index.delete_file(tenant, id)

    async def cleared() -> None:
        indexed = {id for owner, id in await asyncio.to_thread(target.index.files) if owner == tenant}
        place = target.database, target.principal, target.store_id, target.index_name
        await loading.clear(*place, indexed, lambda left: asyncio.to_thread(remove, left))

    await _without_conflict(cleared)


async def _without_conflict(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            return await work()
        except Conflict:  # the other work ends by itself
            await asyncio.sleep(BUSY_S)


async def _commit(target: LoadTarget, folder: Path, batch: Sequence[PreparedDocument], outcome: LoadOutcome) -> None:
    names = listed(target.access, target.principal.user)
    contents: dict[str, bytes] = {}
    loaded: list[LoadedFile] = []
    indexed: list[IndexedFile] = []
    for document in batch:
        source = document.source
        content = await asyncio.to_thread((folder / source.path).read_bytes)
        if hashlib.sha256(content).hexdigest() != source.sha256:
            outcome.failed[source.path] = "changed while it was read; try again"
            continue
        id = file_id(target.store_id, source)
        contents[id] = content
        vectors = document.vectors if document.vectors is not None else np.zeros((0, 0), np.float32)
        usage = sum(len(chunk.body.encode()) for chunk in document.chunks) + vectors.nbytes
        extraction = asdict(document.extraction) if document.extraction is not None else None
        loaded.append(LoadedFile(id, source.path, source.sha256, len(content), document.kind, usage, extraction))
        name = source.path.rpartition("/")[2]
        indexed.append(IndexedFile(target.principal.tenant, id, name, document.chunks, vectors, names))
    if not loaded:
        return

    async def committed() -> None:
        known = await loading.known(target.database, target.principal, target.store_id, contents)
        # Files may have been deleted meanwhile, and their contents with them: write these again.
        for id, content in contents.items():
            await target.blobs.write(target.principal, id, io.BytesIO(content), max_bytes=len(content))
        await loading.attach(
            target.database,
            target.principal,
            target.store_id,
            target.index_name,
            loaded,
            target.access,
            known,
            lambda: asyncio.to_thread(target.index.upsert_files, indexed),
        )

    await _without_conflict(committed)
    outcome.documents += len(loaded)
    outcome.chunks += sum(len(file.chunks) for file in indexed)


def file_id(store_id: str, source: Source) -> str:
    """Returns an id that is the same for the same document in the same collection, whoever loads it."""
    text = "\0".join((store_id, source.path, source.sha256))
    return f"file-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


class Rate:
    """Reports the progress of a load, at most every few seconds."""

    def __init__(self, total: int, say: Callable[[str], None], every_s: float = 5.0) -> None:
        self._total, self._say, self._every_s = total, say, every_s
        self._began = self._said = time.monotonic()

    def __call__(self, outcome: LoadOutcome) -> None:
        at = time.monotonic()
        if at - self._said >= self._every_s or outcome.documents + len(outcome.failed) >= self._total:
            self._said = at
            rate = outcome.chunks / max(at - self._began, 1e-9)
            self._say(f"{outcome.documents} of {self._total} documents, {outcome.chunks} chunks, {rate:.1f} chunks/s")
