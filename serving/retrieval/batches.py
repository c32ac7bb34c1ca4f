"""Batches across documents: of chunks to embed, and of files to commit to an index in one version.

A batch consists of what arrived while the previous one was processed. So no item waits for a batch to fill up, and
small documents share its fixed costs.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.types import Chunk

Vectors = NDArray[np.float32]

EMBED_AT_ONCE = 64
"""Chunks per batch: more than the embedder runs at once, so that it can group chunks of similar length."""


@dataclass(slots=True, eq=False)
class _Chunks:
    left: deque[Chunk]
    missing: int
    vectors: list[Vectors]
    done: asyncio.Future[Vectors]

    def add(self, vectors: Vectors) -> None:
        self.vectors.append(vectors)
        self.missing -= len(vectors)
        if not self.missing and not self.done.done():
            self.done.set_result(np.concatenate(self.vectors))


class EmbeddingBatches:
    """Embeds chunks of many documents together. Tenants with waiting chunks have equal shares of each batch.

    `embed` runs in its own thread, unless it returns an awaitable.
    """

    def __init__(
        self, embed: Callable[[Sequence[Chunk]], Vectors | Awaitable[Vectors]], at_once: int = EMBED_AT_ONCE
    ) -> None:
        self._embed = embed
        self._at_once = at_once
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embedding")
        self._waiting: OrderedDict[str, deque[_Chunks]] = OrderedDict()
        self._working: asyncio.Task[None] | None = None

    async def embed(self, tenant: str, chunks: Sequence[Chunk]) -> Vectors:
        """Returns the vectors of at least one chunk. Chunks of a cancelled caller are dropped."""
        asked = _Chunks(deque(chunks), len(chunks), [], asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, deque()).append(asked)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await asked.done

    async def _work(self) -> None:
        while batch := self._batch():
            try:
                vectors = await self._embedded([chunk for _, part in batch for chunk in part])
            except Exception:  # one document may be the cause: the others must not fail with it
                for asked, part in batch:
                    await self._embed_alone(asked, part)
                continue
            at = 0
            for asked, part in batch:
                asked.add(vectors[at : at + len(part)])
                at += len(part)

    async def _embed_alone(self, asked: _Chunks, part: list[Chunk]) -> None:
        try:
            asked.add(await self._embedded(part))
        except Exception as e:
            asked.left.clear()
            _fail(asked.done, e)

    async def _embedded(self, chunks: Sequence[Chunk]) -> Vectors:
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self._embed, chunks)
        return await found if inspect.isawaitable(found) else found

    def _batch(self) -> list[tuple[_Chunks, list[Chunk]]]:
        """Returns the chunks of the next batch: each tenant's share, oldest chunks first. Served tenants move to the
        end.
        """
        batch: list[tuple[_Chunks, list[Chunk]]] = []
        free = self._at_once
        while free:
            for tenant, queue in list(self._waiting.items()):
                while queue and (not queue[0].left or queue[0].done.done()):
                    queue.popleft()
                if not queue:
                    del self._waiting[tenant]
            if not self._waiting:
                break
            share = max(1, free // len(self._waiting))
            for tenant in list(self._waiting):
                taken = self._take(self._waiting[tenant], min(share, free))
                batch += taken
                free -= sum(len(part) for _, part in taken)
                self._waiting.move_to_end(tenant)
        return batch

    @staticmethod
    def _take(queue: deque[_Chunks], count: int) -> list[tuple[_Chunks, list[Chunk]]]:
        taken = []
        for asked in queue:
            if not count:
                break
            if not asked.done.done():
                part = [asked.left.popleft() for _ in range(min(count, len(asked.left)))]
                count -= len(part)
                taken.append((asked, part))
        return taken


Item = TypeVar("Item")


class CommitBatches(Generic[Item]):
    """Writes items to indexes, one batch per index at a time: all items that became ready during the previous write."""

    def __init__(
        self, check: Callable[[Item], Awaitable[None]], write: Callable[[str, Sequence[Item]], Awaitable[None]]
    ) -> None:
        self._check = check
        self._write = write
        self._waiting: dict[str, list[tuple[Item, asyncio.Future[None]]]] = {}
        self._working: dict[str, asyncio.Task[None]] = {}

    async def commit(self, index: str, item: Item) -> None:
        """Returns once the item is in the index. If its caller is cancelled before the write begins, it is dropped.

        `check` runs right before the write; what it raises fails that item alone. If the write of a batch fails, each
        of its items is retried by itself.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(index, []).append((item, done))
        if index not in self._working:
            self._working[index] = asyncio.create_task(self._work(index))
        await done

    async def _work(self, index: str) -> None:
        try:
            await asyncio.sleep(0)  # items that became ready at the same time join the batch
            while batch := self._waiting.pop(index, []):
                ready = [(item, done) for item, done in batch if await self._may_write(item, done)]
                if not await self._written(index, ready):
                    for one in ready:
                        await self._written(index, [one])
        finally:
            del self._working[index]

    async def _may_write(self, item: Item, done: asyncio.Future[None]) -> bool:
        if done.done():
            return False
        try:
            await self._check(item)
        except Exception as e:
            _fail(done, e)
        return not done.done()

    async def _written(self, index: str, batch: Sequence[tuple[Item, asyncio.Future[None]]]) -> bool:
        """Writes a batch; returns whether it is done, so that its items need not be retried one by one."""
        try:
            if batch:
                await self._write(index, [item for item, _ in batch])
        except Exception as e:
            if len(batch) > 1:
                return False
            for _, done in batch:
                _fail(done, e)
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)
        return True


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
