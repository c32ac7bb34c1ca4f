"""Ingestion as durable jobs: file -> text -> chunks -> vectors -> index, one file at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.embed import Embedder
from serving.retrieval.errors import CollectionNotFound, UnreadableDocument
from serving.retrieval.index import CollectionIndex
from serving.retrieval.manifest import CollectionManifest
from serving.retrieval.parse import PARSER_VERSION
from serving.retrieval.sandbox import chunk_isolated
from serving.retrieval.types import Chunk
from serving.store.errors import NotFound
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.counted import counted
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Handler, JobContext, PermanentError
from serving.store.objects.blobs import Blobs, blob_deletion
from serving.store.vector_store import DROP_INDEX, INGEST, OPTIMIZE, PURGE_INDEX, UNINDEX
from serving.store.vector_stores import VectorStores
from serving.telemetry import metrics

READ_AT_ONCE = 2
"""Documents that are read: the worker's one, and one that was cancelled and is being ended."""

EMBED_AT_ONCE = 64
"""Chunks embedded between two reports of progress."""


class Ingestion:
    """Handlers of every job that changes an index. Each may run twice: what it does bears repeating."""

    def __init__(
        self,
        where: tuple[str, Mapping[str, str]],
        embedder: Embedder,
        files: Files,
        stores: VectorStores,
        blobs: Blobs,
        jobs: Jobs,
    ) -> None:
        self._uri, self._options = where
        self._embedder = embedder
        self._files = files
        self._stores = stores
        self._blobs = blobs
        self._jobs = jobs
        # Threads of its own: those that searches wait for are never taken by documents.
        self._reading = ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="documents")
        settings = ChunkSettings()
        self._manifest = CollectionManifest(
            embedder.id, embedder.dimensions, settings.max_tokens, settings.overlap_tokens, PARSER_VERSION
        )
        self.handlers: Mapping[str, Handler] = {
            INGEST: counted(self._ingest),
            UNINDEX: counted(self._unindex),
            DROP_INDEX: counted(self._drop),
            PURGE_INDEX: counted(self._purge),
            OPTIMIZE: counted(self._optimize),
            DELETE_BLOB: counted(blob_deletion(blobs)),
        }

    def open(self, store_id: str, *, create: bool = False) -> CollectionIndex:
        """Opens a store's index; raises `CollectionNotFound` or `IncompatibleCollection`."""
        return CollectionIndex.open(self._uri, store_id, self._manifest, create=create, options=self._options)

    async def _ingest(self, context: JobContext) -> dict[str, Any] | None:
        store_id, file_id = _target(context.job)
        principal = context.principal
        try:
            # Whoever attached it may be of a group that the job does not know.
            file = await self._files.get_any(principal.tenant, file_id)
            attachment = await self._stores.get_any_file(principal.tenant, store_id, file_id)
            data = await self._blobs.read(principal, file_id)
        except NotFound:
            raise PermanentError("file_not_found", "the file was deleted meanwhile") from None
        try:
            chunks = await self._chunked(data, file.filename, attachment.chunking)
        except UnreadableDocument as e:
            raise PermanentError("unsupported_file", e.message) from None
        vectors = await self._vectors(context, chunks)
        await context.check()
        index = await asyncio.to_thread(lambda: self.open(store_id, create=True))
        of = principal.tenant, file_id, file.filename
        await asyncio.to_thread(index.upsert_file, *of, chunks, vectors, attachment.access)
        metrics.chunks.inc(len(chunks))
        await self._jobs.enqueue(
            principal, OPTIMIZE, {"vector_store_id": store_id}, group=(store_id, None), dedupe_key=store_id
        )
        usage = sum(len(c.body.encode()) for c in chunks) + vectors.nbytes
        return {"usage_bytes": usage, "chunks": len(chunks)}

    async def _chunked(self, data: bytes, name: str, chunking: dict[str, Any]) -> list[Chunk]:
        """Returns the chunks; a job that is cancelled takes its child with it, or cancelled ones would pile up."""
        stop = threading.Event()
        running = asyncio.get_running_loop().run_in_executor(
            self._reading, self._chunks, data, name, chunking, lambda: not stop.is_set()
        )
        try:
            return await running
        finally:
            stop.set()

    def _chunks(self, data: bytes, name: str, chunking: dict[str, Any], wanted: Callable[[], bool]) -> list[Chunk]:
        settings = ChunkSettings()
        if static := chunking.get("static"):
            settings = ChunkSettings.static(
                static["max_chunk_size_tokens"], static["chunk_overlap_tokens"], self._embedder.max_tokens
            )
        return chunk_isolated(data, name, settings, wanted=wanted)

    async def _vectors(self, context: JobContext, chunks: list[Chunk]) -> NDArray[np.float32]:
        parts = []
        for i in range(0, len(chunks), EMBED_AT_ONCE):
            texts = [c.body for c in chunks[i : i + EMBED_AT_ONCE]]
            parts.append(await asyncio.to_thread(self._embedder.embed, texts))
            await context.progress(min(i + EMBED_AT_ONCE, len(chunks)), len(chunks), "embedding")
        return np.concatenate(parts) if parts else np.zeros((0, self._embedder.dimensions), np.float32)

    async def _unindex(self, context: JobContext) -> None:
        store_id, file_id = _target(context.job)
        try:
            index = await asyncio.to_thread(self.open, store_id)
        except CollectionNotFound:
            return
        await asyncio.to_thread(index.delete_file, context.principal.tenant, file_id)

    async def _drop(self, context: JobContext) -> None:
        try:
            index = await asyncio.to_thread(self.open, context.job.payload["vector_store_id"])
        except CollectionNotFound:
            return
        await asyncio.to_thread(index.drop)

    async def _purge(self, context: JobContext) -> None:
        try:
            index = await asyncio.to_thread(self.open, context.job.payload["vector_store_id"])
        except CollectionNotFound:
            return
        await asyncio.to_thread(index.purge)

    async def _optimize(self, context: JobContext) -> None:
        try:
            index = await asyncio.to_thread(self.open, context.job.payload["vector_store_id"])
        except CollectionNotFound:
            return
        await asyncio.to_thread(index.optimize)


def _target(job: Job) -> tuple[str, str]:
    return job.payload["vector_store_id"], job.payload["file_id"]
