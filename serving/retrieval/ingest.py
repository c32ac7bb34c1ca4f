"""Ingestion as durable jobs: file -> text -> chunks -> vectors -> index.

Several files are processed at once: some are parsed while chunks of others are embedded, in batches across files, and
finished files are committed to an index together.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.config import Limits
from serving.core.ids import now
from serving.core.places import SharedPlaces
from serving.metering.documents import DocumentQuotas
from serving.protocol.errors import ApiError
from serving.retrieval.batches import EMBED_AT_ONCE, CommitBatches, EmbeddingBatches
from serving.retrieval.builder import ChunkBounds
from serving.retrieval.chunk import ChunkSettings
from serving.retrieval.chunk_table import IndexedFile
from serving.retrieval.embedders.embedder import Embedder
from serving.retrieval.errors import CollectionNotFound, UnreadableDocument
from serving.retrieval.index import CollectionIndex
from serving.retrieval.indexes import VectorStoreIndexes
from serving.retrieval.sandbox import chunk_isolated, chunking_limits
from serving.retrieval.text.tokens import WordPieces
from serving.retrieval.types import Chunk, Extraction
from serving.store.errors import NotFound
from serving.store.files import DELETE_BLOB, Files
from serving.store.jobs.counted import counted
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Handler, JobContext, PermanentError, Postponed
from serving.store.objects.blobs import Blobs, blob_deletion
from serving.store.vector_store import DROP_INDEX, INGEST, OPTIMIZE, PURGE_INDEX, UNINDEX
from serving.store.vector_stores import VectorStores
from serving.telemetry import metrics

FILES_AT_ONCE = 10
FILES_OF_ONE = 8
"""Files in process at once, and those of one tenant: enough that small ones fill a batch while others are parsed."""

READ_AT_ONCE = 3
READ_OF_ONE = 2
"""Documents that are parsed at once, each in its own child process, and those of one tenant."""

CHANGED_AT_ONCE = 4
"""Indexes that are changed at once."""

LARGE = 1_000_000
LARGE_AT_ONCE = 2
"""Size in bytes above which only one file of a tenant, and few in all, are processed at a time: chunks and vectors may
take a hundred times as much.
"""

TRIED_AGAIN_S = 30.0
"""Delay between attempts while the embedder does not answer, for example because it is loading."""

EMBEDDER_AWAITED_S = 3_600.0
"""How long a document waits for its embedder. Work on the whole index, such as re-indexing, waits for the document."""

log = logging.getLogger("headrace.retrieval")

T = TypeVar("T")
Chunked = tuple[list[Chunk], Extraction]


class EmbedderGone(RuntimeError):
    """The stack no longer has the embedder of an index."""


class Ingestion:
    """Handlers of all jobs that change an index. Each is idempotent, since a job may run twice."""

    def __init__(
        self,
        indexes: VectorStoreIndexes,
        files: Files,
        stores: VectorStores,
        blobs: Blobs,
        jobs: Jobs,
        limits: Limits,
        quotas: DocumentQuotas,
        count_tokens: Callable[[str], int],
    ) -> None:
        self._indexes = indexes
        self._files = files
        self._stores = stores
        self._blobs = blobs
        self._jobs = jobs
        self._quotas = quotas
        self._count_tokens = count_tokens
        self._bounds = ChunkBounds(characters=limits.document_characters)
        # Separate threads, so that documents never occupy those for searches.
        self._threads = ThreadPoolExecutor(READ_AT_ONCE, thread_name_prefix="documents")
        self._reading = SharedPlaces(READ_AT_ONCE, READ_OF_ONE)
        self._large = SharedPlaces(LARGE_AT_ONCE, 1)
        self._batches: dict[str, EmbeddingBatches] = {}
        self._commits = CommitBatches[tuple[JobContext, IndexedFile]](lambda item: item[0].check(), self._write)
        self._changing = ThreadPoolExecutor(CHANGED_AT_ONCE, thread_name_prefix="indexes")
        # Only one thread of a replica changes an index at a time, since its versions are sequential.
        self._locks = [threading.Lock() for _ in range(64)]
        self.handlers: Mapping[str, Handler] = {
            INGEST: counted(self._ingest),
            UNINDEX: counted(self._unindex),
            DROP_INDEX: counted(self._drop),
            PURGE_INDEX: counted(self._purge),
            OPTIMIZE: counted(self._optimize),
            DELETE_BLOB: counted(blob_deletion(blobs)),
        }

    async def _ingest(self, context: JobContext) -> dict[str, Any] | None:
        store_id, file_id = _target(context.job)
        principal = context.principal
        try:
            # The job does not know the groups of the user who attached the file.
            file = await self._files.get_any(principal.tenant, file_id)
            attachment = await self._stores.get_any_file(principal.tenant, store_id, file_id)
            async with self._large.place(principal.tenant) if file.bytes > LARGE else nullcontext():
                data = await self._blobs.read(principal, file_id)
                async with self._reading.place(principal.tenant):
                    (chunks, extraction), tokens = await self._read(
                        context.job, data, file.filename, attachment.chunking
                    )
                targets, outdated = await self._targets(store_id)
                searched, embedder = targets[0]
                usage = sum(len(c.body.encode()) + 4 * embedder.dimensions for c in chunks)
                await self._quotas.store(context.job, usage)
                for name, embedder in targets:
                    try:
                        vectors = await self._vectors(context, chunks, tokens, embedder)
                    except (ApiError, PermanentError):
                        if name == searched:
                            raise
                        outdated.append(name)  # the index being built: its own job adds the document later
                        continue
                    indexed = IndexedFile(principal.tenant, file_id, file.filename, chunks, vectors, attachment.access)
                    await self._commits.commit(name, (context, indexed))
                if outdated:  # their version of the document may have an older text or an older access list
                    await context.check()
                    await self._change(outdated, lambda index: index.delete_file(principal.tenant, file_id))
        except ApiError as e:
            if e.type == "invalid_request_error" or now() - context.job.created_at > EMBEDDER_AWAITED_S:
                raise
            log.warning("%s waits until it can be embedded: %s", file_id, e.message)
            raise Postponed(TRIED_AGAIN_S) from None
        except NotFound:
            raise PermanentError("file_not_found", "the file was deleted during the job") from None
        except UnreadableDocument as e:
            raise PermanentError("unsupported_file", e.message) from None
        except PermanentError:
            await context.check()
            await self._unindex(context)  # an earlier ingestion's chunks would be counted by no quota
            raise
        metrics.chunks.inc(len(chunks))
        await self._jobs.enqueue(
            principal, OPTIMIZE, {"vector_store_id": store_id}, group=(store_id, None), dedupe_key=store_id
        )
        return {"usage_bytes": usage, "chunks": len(chunks), "extraction": asdict(extraction)}

    async def _targets(self, store_id: str) -> tuple[list[tuple[str, Embedder]], list[str]]:
        """Returns the indexes of a store that a document is written to, each with its embedder, the searched one first.

        Also returns the names of the indexes that it cannot be written to, because the stack no longer has their
        embedder.
        """
        names = await self._indexes.names.get(store_id)
        opened = await self._blocking(lambda: self._indexes.written(names))
        found = [(each.name, each.embedder) for each in opened if each.embedder is not None]
        if not found:
            built_by = opened[0].index.manifest.embedder
            raise EmbedderGone(
                f"the index was built by {built_by}, which the stack no longer has; it waits for another embedder"
            )
        return found, [each.name for each in opened if each.embedder is None]

    async def _write(self, name: str, files: Sequence[tuple[JobContext, IndexedFile]]) -> None:
        indexed = [file for _, file in files]
        await self._change([name], lambda index: index.upsert_files(indexed))

    async def _read(self, job: Job, data: bytes, name: str, chunking: dict[str, Any]) -> tuple[Chunked, list[int]]:
        """Returns the chunks, how much of the text they contain, and the tokens of each chunk.

        Reading ends where the text has more characters than may be stored. A cancelled job ends its child process,
        since they would accumulate otherwise.
        """
        bounds, room = self._bounds, await self._quotas.room(job)
        if room is not None and room[0] < bounds.of_file(len(data)).characters:
            bounds = replace(bounds, characters=room[0])
        stop = threading.Event()
        running = asyncio.get_running_loop().run_in_executor(
            self._threads, self._chunks, data, name, chunking, bounds, lambda: not stop.is_set()
        )
        try:
            return await running
        except UnreadableDocument as e:
            if e.code == "too_long" and room is not None and bounds is not self._bounds:
                raise room[1] from None
            raise
        finally:
            stop.set()

    def _chunks(
        self, data: bytes, name: str, chunking: dict[str, Any], bounds: ChunkBounds, wanted: Callable[[], bool]
    ) -> tuple[Chunked, list[int]]:
        settings = ChunkSettings()
        if static := chunking.get("static"):
            settings = ChunkSettings.static(
                static["max_chunk_size_tokens"], static["chunk_overlap_tokens"], WordPieces.max_tokens
            )
        chunked = chunk_isolated(data, name, settings, chunking_limits(len(data), bounds), wanted)
        return chunked, [self._count_tokens(each.body) for each in chunked[0]]

    async def _vectors(
        self, context: JobContext, chunks: list[Chunk], tokens: list[int], embedder: Embedder
    ) -> NDArray[np.float32]:
        """Returns the vectors of chunks, whose tokens are charged as they are embedded."""
        async with self._quotas.embedding(context.job, embedder.name, sum(tokens), embedder.price) as embedded:
            return await self._embedded(context, chunks, tokens, embedder, embedded)

    async def _embedded(
        self,
        context: JobContext,
        chunks: list[Chunk],
        tokens: list[int],
        embedder: Embedder,
        embedded: Callable[[int], None],
    ) -> NDArray[np.float32]:
        tenant = context.principal.tenant
        batches = self._batches.get(embedder.id)
        if batches is None:
            batches = self._batches[embedder.id] = EmbeddingBatches(embedder.embed_chunks)
        waiting = [
            asyncio.ensure_future(batches.embed(tenant, chunks[i : i + EMBED_AT_ONCE]))
            for i in range(0, len(chunks), EMBED_AT_ONCE)
        ]
        parts = [np.zeros((0, embedder.dimensions), np.float32)]
        try:
            for number, part in enumerate(waiting, 1):
                parts.append(await part)
                embedded(sum(tokens[(number - 1) * EMBED_AT_ONCE : number * EMBED_AT_ONCE]))
                if len(waiting) > 1:  # for a small document the end of the job suffices, and costs less
                    await context.progress(min(number * EMBED_AT_ONCE, len(chunks)), len(chunks), "embedding")
        finally:
            for part in waiting:
                part.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return np.concatenate(parts)

    async def _unindex(self, context: JobContext) -> None:
        store_id, file_id = _target(context.job)
        names = await self._indexes.names.get(store_id)
        await self._change(names.all, lambda index: index.delete_file(context.principal.tenant, file_id))

    async def _drop(self, context: JobContext) -> None:
        payload = context.job.payload
        await self._change(payload.get("indexes", [payload["vector_store_id"]]), CollectionIndex.drop)

    async def _purge(self, context: JobContext) -> None:
        names = await self._indexes.names.get(context.job.payload["vector_store_id"])
        await self._change(names.all, CollectionIndex.purge)

    async def _optimize(self, context: JobContext) -> None:
        names = await self._indexes.names.get(context.job.payload["vector_store_id"])
        await self._change(names.written, CollectionIndex.optimize)

    async def _change(self, names: Sequence[str], change: Callable[[CollectionIndex], object]) -> None:
        """Changes indexes; missing ones are skipped."""

        def changed(name: str) -> None:
            with self._locks[hash(name) % len(self._locks)], suppress(CollectionNotFound):
                change(self._indexes.open(name).index)

        for name in names:
            await self._blocking(partial(changed, name))

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._changing, work)


def _target(job: Job) -> tuple[str, str]:
    return job.payload["vector_store_id"], job.payload["file_id"]
