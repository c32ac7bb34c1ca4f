"""Rebuilds an index with another embedder in the background, and then switches searches to it.

The chunks are those of the old index: only their vectors are recomputed. Each job does a part, with exclusive access to
its vector store; between jobs, documents are added to and removed from both indexes. The remaining work is the
difference between the two indexes, so that it can continue after a crash.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from serving.core.principal import Principal
from serving.protocol.errors import ApiError
from serving.retrieval.chunk_table import row_chunks
from serving.retrieval.embedders.embedder import Embedder, Vectors
from serving.retrieval.embedders.registry import EmbedderRegistry
from serving.retrieval.errors import CollectionNotFound, IncompatibleCollection
from serving.retrieval.index import CollectionIndex
from serving.retrieval.indexes import OpenIndex, VectorStoreIndexes, index_name
from serving.retrieval.types import Chunk
from serving.store.jobs.counted import counted
from serving.store.jobs.queue import Job, Jobs, Json
from serving.store.jobs.worker import Handler, JobContext
from serving.store.upkeep.indexes import StoreIndexes
from serving.store.vector_store import DROP_RETIRED, REINDEX
from serving.telemetry import metrics

log = logging.getLogger("headrace.retrieval")

PART_S = 20.0
"""Duration of one job: documents of the vector store wait meanwhile."""

FILES = 16
"""Maximum number of files that are read at once."""

CHUNKS_TOGETHER = 1_024
"""Maximum number of chunks that are read at once, except for a single larger file: chunks and vectors are in memory."""

CHUNKS = 64
"""Chunks that are embedded at once."""

BEGINS_AFTER_S = 900.0
"""Delay after a replica's start before an earlier release's index is rebuilt.

Retrieval starts before requests are sent to it, and streams of the previous release may continue for ten minutes. That
release knows only one index per vector store, by the store's name, and reads and writes only that one until it has
ended.
"""

DROPPED_AFTER_S = 1_200.0
"""Delay before a replaced index is removed: longer than the previous release, which may read it, keeps running."""

TRIED_AGAIN_S = 30.0
"""Delay between attempts while the embedder does not answer, for example because it is loading."""


class Reindexing:
    """Finds vector stores whose index was built by another embedder, and runs the jobs that rebuild it."""

    def __init__(self, indexes: VectorStoreIndexes, embedders: EmbedderRegistry, jobs: Jobs) -> None:
        self._indexes = indexes
        self._names = indexes.names
        self._embedders = embedders
        self._jobs = jobs
        self._started = time.monotonic()
        self.handlers: Mapping[str, Handler] = {
            REINDEX: counted(self.reindex),
            DROP_RETIRED: counted(self.drop_retired),
        }

    async def begin(self) -> int:
        """Enqueues jobs for vector stores that need them. Returns the number of stores whose index is rebuilt."""
        wanted = (await asyncio.to_thread(lambda: self._embedders.current)).id
        begun = 0
        for tenant, store_id in await self._names.unsettled(wanted):
            names = await self._names.get(store_id)
            principal = Principal(tenant, user="", key_id=REINDEX)
            await self._drop_retired(principal, store_id, names)
            if names.embedder == wanted:
                continue
            try:
                live = await asyncio.to_thread(self._indexes.open, names.live)
            except CollectionNotFound:
                continue  # it will be created by the current embedder
            except IncompatibleCollection as e:
                log.warning("the index of the vector store %s cannot be rebuilt: %s", store_id, e)
                continue
            built_by = live.index.manifest.embedder
            if built_by == wanted and names.next is None:
                await self._names.change(store_id, lambda at: _known(at, wanted))
                continue
            # Earlier releases had one embedder, and did not record it.
            earlier = names.embedder is None and built_by == self._embedders.judge.id
            left = self._started + BEGINS_AFTER_S - time.monotonic() if earlier else 0.0
            await self._enqueue(principal, REINDEX, {"vector_store_id": store_id}, delay_s=left)
            begun += 1
        if begun:
            log.info("the indexes of %d vector stores are being rebuilt for the embedder %s", begun, wanted)
        return begun

    async def reindex(self, context: JobContext) -> dict[str, Any] | None:
        """Builds a part of an index; after the last part, switches searches to it."""
        if await self._waited(context):
            return None
        store_id = context.job.payload["vector_store_id"]
        wanted = await asyncio.to_thread(lambda: self._embedders.current)
        names = await self._names.get(store_id)
        try:
            live = await asyncio.to_thread(self._indexes.open, names.live)
        except CollectionNotFound:
            return None
        if live.index.manifest.embedder == wanted.id:
            await self._give_up(context, wanted.id)
            return None
        target = await self._target(context, names, wanted)
        try:
            done, total = await self._part(context, live, target, wanted)
            if done == total:
                await asyncio.to_thread(target.index.optimize)
                done, total = await self._part(context, live, target, wanted)  # files that were written during the job
        except ApiError as e:
            await self._try_again(context, wanted, e)
            return None
        if done < total:
            await self._enqueue(context.principal, REINDEX, {"vector_store_id": store_id}, context.job)
            return {"files": done, "of": total}
        await context.check()
        switched = await self._names.change(store_id, lambda at: at.switched(wanted.id))
        log.info("searches of the vector store %s now use the embedder %s", store_id, wanted.id)
        await self._drop_retired(context.principal, store_id, switched)
        return {"files": done, "of": total}

    async def drop_retired(self, context: JobContext) -> None:
        """Removes a replaced index, after copying late documents to the new one."""
        if await self._waited(context):
            return
        store_id, name = context.job.payload["vector_store_id"], context.job.payload["index"]
        names = await self._names.get(store_id)
        if name in names.written:
            return
        try:
            retired = await asyncio.to_thread(self._indexes.open, name)
        except CollectionNotFound:
            pass
        else:
            if not await self._rescued(context, names, retired):
                return
            await context.check()
            await asyncio.to_thread(retired.index.drop)
        await self._names.change(store_id, lambda at: _without(at, name))

    async def _rescued(self, context: JobContext, names: StoreIndexes, retired: OpenIndex) -> bool:
        """Copies documents that only the replaced index has, such as those that the previous release wrote after the
        switch.

        Returns whether none remain; otherwise another job continues.
        """
        written = []
        for name in names.written:
            with suppress(CollectionNotFound):
                written.append(await asyncio.to_thread(self._indexes.open, name))
        elsewhere = [await asyncio.to_thread(each.index.files) for each in written]
        missing = await asyncio.to_thread(retired.index.files) - set().union(*elsewhere)
        missing &= await self._names.complete(context.job.payload["vector_store_id"], missing)
        if not missing:
            return True
        target = next((each for each in written if each.embedder is not None), None)
        if target is None or target.embedder is None:
            await self._enqueue(
                context.principal, DROP_RETIRED, _payload(context.job), context.job, delay_s=DROPPED_AFTER_S
            )
            return False
        try:
            done, total = await self._part(context, retired, target, target.embedder, missing)
        except ApiError as e:
            await self._try_again(context, target.embedder, e)
            return False
        if done < total:
            await self._enqueue(context.principal, DROP_RETIRED, _payload(context.job), context.job)
        return done == total

    async def _target(self, context: JobContext, names: StoreIndexes, wanted: Embedder) -> OpenIndex:
        """Opens the index being built, or a new one if there is none or it is for another embedder."""
        store_id = context.job.payload["vector_store_id"]
        if names.next is not None:
            target = await asyncio.to_thread(lambda: self._indexes.open(str(names.next), create=True))
            if target.index.manifest.embedder == wanted.id:
                return target
        # The row first: an index without a row would never be removed.
        name = index_name(store_id, wanted.id, context.job.id)
        begun = await self._names.change(store_id, lambda at: at.begun(name))
        await self._drop_retired(context.principal, store_id, begun)
        return await asyncio.to_thread(lambda: self._indexes.open(name, create=True))

    async def _part(
        self,
        context: JobContext,
        source: OpenIndex,
        target: OpenIndex,
        by: Embedder,
        only: Collection[tuple[str, str]] | None = None,
    ) -> tuple[int, int]:
        """Copies files until the part's time is over. Returns the current and the required number of files."""
        sizes = await asyncio.to_thread(source.index.chunks_of_files)
        wanted = set(sizes) if only is None else sizes.keys() & only
        left = sorted(wanted - await asyncio.to_thread(target.index.files))
        total, done = len(wanted), len(wanted) - len(left)
        until = time.monotonic() + PART_S
        for files in _file_batches(left, sizes):
            if total - done < len(left) and time.monotonic() > until:
                break
            await context.progress(done, total, "embedding")
            await self._copy(context, source.index, target.index, files, by)
            done += len(files)
        return done, total

    async def _copy(
        self,
        context: JobContext,
        source: CollectionIndex,
        target: CollectionIndex,
        files: Sequence[tuple[str, str]],
        by: Embedder,
    ) -> None:
        rows = await asyncio.to_thread(source.rows_of, files)
        chunks = await asyncio.to_thread(row_chunks, rows)
        parts = [np.zeros((0, by.dimensions), np.float32)]
        for at in range(0, len(chunks), CHUNKS):
            parts.append(await _embedded(by, chunks[at : at + CHUNKS]))
            await context.check()
        await asyncio.to_thread(target.copy, rows, np.concatenate(parts))
        metrics.reindexed_chunks.inc(len(chunks))

    async def _enqueue(
        self, principal: Principal, kind: str, payload: Json, after: Job | None = None, *, delay_s: float = 0.0
    ) -> None:
        """Enqueues a job with exclusive access to its vector store. A delayed job gets it after the delay, so that
        documents do not wait.
        """
        key = f"{payload.get('index', payload['vector_store_id'])}:{after.id if after is not None else ''}"[:200]
        if delay_s > 0:
            await self._jobs.enqueue(principal, kind, payload | {"waits": True}, dedupe_key=key, delay_s=delay_s)
        else:
            group = payload["vector_store_id"], None
            await self._jobs.enqueue(principal, kind, payload, group=group, dedupe_key=key)

    async def _waited(self, context: JobContext) -> bool:
        """Returns whether a job has only waited; then the job that does its work is enqueued."""
        if waited := bool(context.job.payload.get("waits")):
            await self._enqueue(context.principal, context.job.kind, _payload(context.job), context.job)
        return waited

    async def _try_again(self, context: JobContext, embedder: Embedder, error: ApiError) -> None:
        log.warning("%s waits: the embedder %s fails: %s", context.job.kind, embedder.id, error.message)
        job = context.job
        await self._enqueue(context.principal, job.kind, _payload(job), job, delay_s=TRIED_AGAIN_S)

    async def _give_up(self, context: JobContext, wanted: str) -> None:
        """The index that searches use is (again) the configured embedder's: the other one is no longer needed."""
        store_id = context.job.payload["vector_store_id"]
        changed = await self._names.change(store_id, lambda at: _known(at, wanted))
        await self._drop_retired(context.principal, store_id, changed)

    async def _drop_retired(self, principal: Principal, store_id: str, names: StoreIndexes) -> None:
        for name in names.retired:
            payload = {"vector_store_id": store_id, "index": name}
            await self._enqueue(principal, DROP_RETIRED, payload, delay_s=DROPPED_AFTER_S)


def _payload(job: Job) -> Json:
    return {key: value for key, value in job.payload.items() if key != "waits"}


def _file_batches(
    files: Sequence[tuple[str, str]], sizes: Mapping[tuple[str, str], int]
) -> Iterator[Sequence[tuple[str, str]]]:
    """Yields files to copy in one step; a large file is its own step."""
    step: list[tuple[str, str]] = []
    chunks = 0
    for file in files:
        if step and (len(step) == FILES or chunks + sizes[file] > CHUNKS_TOGETHER):
            yield step
            step, chunks = [], 0
        step.append(file)
        chunks += sizes[file]
    if step:
        yield step


async def _embedded(by: Embedder, chunks: Sequence[Chunk]) -> Vectors:
    found = await asyncio.to_thread(by.embed_chunks, chunks)
    return await found if inspect.isawaitable(found) else found


def _known(names: StoreIndexes, embedder: str) -> StoreIndexes:
    given_up = (names.next,) if names.next is not None else ()
    return StoreIndexes(names.live, None, (*names.retired, *given_up), embedder=embedder)


def _without(names: StoreIndexes, name: str) -> StoreIndexes:
    retired = tuple(each for each in names.retired if each != name)
    return StoreIndexes(names.live, names.next, retired, embedder=names.embedder)
