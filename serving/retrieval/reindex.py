"""Builds an index by another embedder behind the one that is searched, and lets it take that one's place.

The chunks are those of the old index: only their vectors are made anew. Each job does a part, and has its vector store
for itself meanwhile; between two of them documents come and go, in both indexes. What is left to do is the difference
of the two, so that whoever goes on after a crash knows it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.core.principal import Principal
from serving.retrieval.chunk_table import row_chunks
from serving.retrieval.embedders.chosen import Embedders
from serving.retrieval.embedders.embedder import Embedder, Vectors
from serving.retrieval.errors import CollectionNotFound, IncompatibleCollection
from serving.retrieval.index import CollectionIndex
from serving.retrieval.indexes import OpenIndex, VectorStoreIndexes, index_name
from serving.retrieval.types import Chunk
from serving.store.jobs.counted import counted
from serving.store.jobs.queue import Job, Jobs
from serving.store.jobs.worker import Handler, JobContext
from serving.store.upkeep.indexes import StoreIndexes
from serving.store.vector_store import DROP_RETIRED, REINDEX
from serving.telemetry import metrics

log = logging.getLogger("headrace.retrieval")

PART_S = 20.0
"""How long one job works: documents of the vector store wait for it."""

FILES = 16
"""Files that are read at once."""

CHUNKS = 64
"""Chunks that are embedded at once."""

DROPPED_AFTER_S = 60.0
"""When an index that was replaced is removed: searches that knew it (`KNOWN_S`) have long ended."""


class Reindexing:
    """Finds vector stores whose index another embedder built, and does the jobs that change that."""

    def __init__(self, indexes: VectorStoreIndexes, embedders: Embedders, jobs: Jobs) -> None:
        self._indexes = indexes
        self._names = indexes.names
        self._embedders = embedders
        self._jobs = jobs
        self.handlers: Mapping[str, Handler] = {
            REINDEX: counted(self.reindex),
            DROP_RETIRED: counted(self.drop_retired),
        }

    async def begin(self) -> int:
        """Enqueues jobs for vector stores that need them. Returns how many."""
        wanted = (await asyncio.to_thread(lambda: self._embedders.current)).id
        begun = 0
        for tenant, store_id in await self._names.of_other_embedders(wanted):
            names = await self._names.get(store_id)
            try:
                live = await asyncio.to_thread(self._indexes.open, names.live)
            except CollectionNotFound:
                continue  # it is made by the embedder of then
            except IncompatibleCollection as e:
                log.warning("the index of the vector store %s cannot be built anew: %s", store_id, e)
                continue
            if live.index.manifest.embedder == wanted and names.next is None:
                await self._names.change(store_id, lambda at: _known(at, wanted))
                continue
            principal = Principal(tenant, user="", key_id=REINDEX)
            await self._enqueue(principal, store_id)
            begun += 1
        if begun:
            log.info("the indexes of %d vector stores are built anew for the embedder %s", begun, wanted)
        return begun

    async def reindex(self, context: JobContext) -> dict[str, Any] | None:
        """Does a part of an index; the last part lets it take the old one's place."""
        store_id = context.job.payload["vector_store_id"]
        wanted = await asyncio.to_thread(lambda: self._embedders.current)
        names = await self._names.get(store_id)
        try:
            live = await asyncio.to_thread(self._indexes.open, names.live)
        except CollectionNotFound:
            return None
        if live.index.manifest.embedder == wanted.id:
            await self._give_up(context, names)
            return None
        target = await self._target(context, names, wanted)
        done, total = await self._part(context, live, target, wanted)
        if done < total:
            await self._enqueue(context.principal, store_id, context.job)
            return {"files": done, "of": total}
        await asyncio.to_thread(target.index.optimize)
        await context.check()
        switched = await self._names.change(store_id, lambda at: at.switched(wanted.id))
        log.info("the vector store %s is searched by the embedder %s now", store_id, wanted.id)
        await self._drop_retired(context.principal, store_id, switched)
        return {"files": done, "of": total}

    async def drop_retired(self, context: JobContext) -> None:
        """Removes an index that was replaced."""
        store_id, name = context.job.payload["vector_store_id"], context.job.payload["index"]
        if name in (await self._names.get(store_id)).written:
            return
        try:
            retired = await asyncio.to_thread(self._indexes.open, name)
        except CollectionNotFound:
            pass
        else:
            await asyncio.to_thread(retired.index.drop)
        await self._names.change(store_id, lambda at: _without(at, name))

    async def _target(self, context: JobContext, names: StoreIndexes, wanted: Embedder) -> OpenIndex:
        """Opens the index that is built, a new one where none is or where yet another embedder began it."""
        store_id = context.job.payload["vector_store_id"]
        if names.next is not None:
            target = await asyncio.to_thread(lambda: self._indexes.open(str(names.next), create=True))
            if target.index.manifest.embedder == wanted.id:
                return target
        # Its row first: what has no name in it would never be removed.
        name = index_name(store_id, wanted.id, context.job.id)
        begun = await self._names.change(store_id, lambda at: at.begun(name))
        await self._drop_retired(context.principal, store_id, begun)
        return await asyncio.to_thread(lambda: self._indexes.open(name, create=True))

    async def _part(self, context: JobContext, live: OpenIndex, target: OpenIndex, by: Embedder) -> tuple[int, int]:
        """Copies files until the part's time is over. Returns how many files there are now, and how many there must."""
        wanted, there = await asyncio.to_thread(lambda: (live.index.files(), target.index.files()))
        left, total = sorted(wanted - there), len(wanted)
        until = time.monotonic() + PART_S
        for at in range(0, len(left), FILES):
            if at and time.monotonic() > until:
                return total - len(left) + at, total
            await context.progress(total - len(left) + at, total, "embedding")
            await self._copy(live.index, target.index, left[at : at + FILES], by)
        return total, total

    async def _copy(
        self, source: CollectionIndex, target: CollectionIndex, files: Sequence[tuple[str, str]], by: Embedder
    ) -> None:
        rows = await asyncio.to_thread(source.rows_of, files)
        chunks = await asyncio.to_thread(row_chunks, rows)
        parts = [await _embedded(by, chunks[at : at + CHUNKS]) for at in range(0, len(chunks), CHUNKS)]
        await asyncio.to_thread(target.copy, rows, np.concatenate(parts))
        metrics.reindexed_chunks.inc(len(chunks))

    async def _enqueue(self, principal: Principal, store_id: str, after: Job | None = None) -> None:
        key = f"{store_id}:{after.id if after is not None else ''}"
        await self._jobs.enqueue(
            principal, REINDEX, {"vector_store_id": store_id}, group=(store_id, None), dedupe_key=key[:200]
        )

    async def _give_up(self, context: JobContext, names: StoreIndexes) -> None:
        """The index that is searched is the configured embedder's (again): another one is built for nothing."""
        store_id, wanted = context.job.payload["vector_store_id"], self._embedders.current.id
        changed = await self._names.change(store_id, lambda at: _known(at, wanted))
        if names.next is not None:
            await self._drop_retired(context.principal, store_id, changed)

    async def _drop_retired(self, principal: Principal, store_id: str, names: StoreIndexes) -> None:
        for name in names.retired:
            payload = {"vector_store_id": store_id, "index": name}
            await self._jobs.enqueue(principal, DROP_RETIRED, payload, dedupe_key=name, delay_s=DROPPED_AFTER_S)


async def _embedded(by: Embedder, chunks: Sequence[Chunk]) -> Vectors:
    found = await asyncio.to_thread(by.embed_chunks, chunks)
    return await found if inspect.isawaitable(found) else found


def _known(names: StoreIndexes, embedder: str) -> StoreIndexes:
    given_up = (names.next,) if names.next is not None else ()
    return StoreIndexes(names.live, None, (*names.retired, *given_up), embedder=embedder)


def _without(names: StoreIndexes, name: str) -> StoreIndexes:
    retired = tuple(each for each in names.retired if each != name)
    return StoreIndexes(names.live, names.next, retired, embedder=names.embedder)
