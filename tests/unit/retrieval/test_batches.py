"""Batching of embeddings and writes: fairness between tenants, failures and cancellations."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from serving.retrieval.batches import CommitBatches, EmbeddingBatches, Vectors
from serving.retrieval.types import Chunk


def chunks(name: str, count: int) -> list[Chunk]:
    return [Chunk(i, "", "", f"{name}{i}", i, i + 1, None) for i in range(count)]


class Embedding:
    """An embedder whose vector of a chunk is the chunk's position; its first batch waits until `go`."""

    def __init__(self) -> None:
        self.batches: list[str] = []
        self.go = threading.Event()

    def __call__(self, given: Sequence[Chunk]) -> Vectors:
        self.batches.append(" ".join(chunk.text for chunk in given))
        assert self.go.wait(120)
        if any(chunk.text.startswith("broken") for chunk in given):
            raise ValueError("broken")
        return np.array([[chunk.ordinal] for chunk in given], np.float32)


async def begun(work: Embedding) -> None:
    while not work.batches:
        await asyncio.sleep(0)


async def test_documents_share_batches_and_tenants_get_equal_shares() -> None:
    work = Embedding()
    batches = EmbeddingBatches(work, 4)
    first = asyncio.create_task(batches.embed("acme", chunks("first", 1)))
    await begun(work)
    asked = [("acme", "a", 5), ("acme", "b", 1), ("blue", "c", 1), ("blue", "d", 2)]
    tasks = [asyncio.create_task(batches.embed(tenant, chunks(name, n))) for tenant, name, n in asked]
    await asyncio.sleep(0)
    work.go.set()
    found = await asyncio.gather(first, *tasks)
    assert work.batches == ["first0", "a0 a1 c0 d0", "a2 a3 d1 a4", "b0"]
    assert [vectors.ravel().tolist() for vectors in found] == [[0], [0, 1, 2, 3, 4], [0], [0], [0, 1]]


async def test_a_document_that_cannot_be_embedded_fails_alone() -> None:
    work = Embedding()
    batches = EmbeddingBatches(work)
    work.go.set()
    found = await asyncio.gather(
        *(batches.embed("acme", chunks(name, 2)) for name in ("a", "broken", "b")), return_exceptions=True
    )
    assert [type(each) for each in found] == [np.ndarray, ValueError, np.ndarray]
    assert (await batches.embed("acme", chunks("c", 1))).tolist() == [[0]]


async def test_cancelled_documents_are_not_embedded() -> None:
    work = Embedding()
    batches = EmbeddingBatches(work)
    first = asyncio.create_task(batches.embed("acme", chunks("first", 1)))
    await begun(work)
    tasks = [asyncio.create_task(batches.embed("acme", chunks(name, 1))) for name in ("a", "b")]
    await asyncio.sleep(0)
    tasks[0].cancel()
    await asyncio.sleep(0)
    work.go.set()
    await asyncio.gather(first, tasks[1])
    assert work.batches == ["first0", "b0"]


class Index:
    """An index whose writes wait until `go`; the check refuses the file `lost`, the write refuses `broken`."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, list[str]]] = []
        self.go = asyncio.Event()

    async def check(self, item: str) -> None:
        if item == "lost":
            raise LookupError(item)

    async def write(self, index: str, items: Sequence[str]) -> None:
        self.writes.append((index, list(items)))
        await self.go.wait()
        if "broken" in items:
            raise ValueError("broken")


async def test_files_that_become_ready_during_a_write_share_the_next_write() -> None:
    index = Index()
    commits = CommitBatches(index.check, index.write)
    together = [asyncio.create_task(commits.commit("one", item)) for item in ("a", "b")]
    await asyncio.sleep(0.01)
    later = [asyncio.create_task(commits.commit("one", item)) for item in ("c", "lost", "cancelled", "d")]
    other = asyncio.create_task(commits.commit("two", "e"))
    await asyncio.sleep(0.01)
    later[2].cancel()
    await asyncio.sleep(0)
    assert not any(task.done() for task in (*together, other))
    index.go.set()
    ends = await asyncio.gather(*together, *later, other, return_exceptions=True)
    assert index.writes == [("one", ["a", "b"]), ("two", ["e"]), ("one", ["c", "d"])]
    assert [type(end).__name__ for end in ends[3:5]] == ["LookupError", "CancelledError"]
    assert [*ends[:3], *ends[5:]] == [None] * 5


async def test_a_failed_write_is_retried_per_file() -> None:
    index = Index()
    index.go.set()
    commits = CommitBatches(index.check, index.write)
    ends = await asyncio.gather(*(commits.commit("one", item) for item in ("a", "broken", "b")), return_exceptions=True)
    assert [type(end).__name__ for end in ends] == ["NoneType", "ValueError", "NoneType"]
    with pytest.raises(ValueError):
        await commits.commit("one", "broken")
    await commits.commit("one", "c")


async def test_a_cancelled_caller_does_not_cancel_the_writes_of_others() -> None:
    index = Index()
    commits = CommitBatches(index.check, index.write)
    tasks = [asyncio.create_task(commits.commit("one", item)) for item in ("a", "b")]
    await asyncio.sleep(0.01)
    tasks[0].cancel()
    await asyncio.sleep(0)
    index.go.set()
    await tasks[1]
    assert index.writes == [("one", ["a", "b"])]
