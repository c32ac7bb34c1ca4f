"""`python -m bench recall [--turns N]`: the cost of memory as a conversation grows.

One conversation with memory of kind `vector` in SQLite, with random vectors instead of an embedder: rows, and the
median milliseconds to store a turn, store its vector, read all vectors and find the best of them.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from serving.assistants.memory.similarity import best, pack
from serving.core.principal import Principal
from serving.store.conversations import Conversations
from serving.store.relational.database import Database
from serving.store.turn_vectors import TurnVectors

ME = Principal("bench", "bench", "bench")
EMBEDDER, KEEP, SHOWN = "random", 10_000, 4
REPEATS = 20


def item(role: str, kind: str, n: int) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": f"{n} {'word ' * 50}"}]}


async def time_call(times: list[float], work: Callable[[], Awaitable[Any]]) -> Any:
    started = time.perf_counter()
    result = await work()
    times.append(1000 * (time.perf_counter() - started))
    return result


async def run(turns: int) -> None:
    random = np.random.default_rng(0)

    def vector() -> Any:
        row = random.standard_normal(384).astype(np.float32)
        return row / np.linalg.norm(row)

    with tempfile.TemporaryDirectory() as folder:
        async with Database(f"sqlite:///{folder}/h.db") as database:
            conversations, vectors = Conversations(database), TurnVectors(database)
            id = (await conversations.create(ME)).id

            async def store(n: int) -> None:
                await conversations.add(ME, id, [item("user", "input_text", n), item("assistant", "output_text", n)])

            async def embed() -> None:
                waiting = await vectors.waiting(ME, id, EMBEDDER, keep=KEEP, limit=32)
                packed = {turn: pack(vector()) for turn in waiting}
                await vectors.put(ME, id, "a", EMBEDDER, packed, keep=KEEP)

            storing: list[float] = []
            embedding: list[float] = []
            for n in range(1, turns + 1):
                await time_call(storing, lambda n=n: store(n))  # type: ignore[misc]
                await time_call(embedding, embed)
                if n % max(turns // 5, 1):
                    continue
                reading: list[float] = []
                finding: list[float] = []
                for _ in range(REPEATS):
                    found = await time_call(reading, lambda: vectors.of_conversation(ME, id, EMBEDDER, limit=KEEP))
                    started = time.perf_counter()
                    best(vector(), [v.vector for v in found], count=SHOWN, least=-1)
                    finding.append(1000 * (time.perf_counter() - started))
                times_by_step = {"store": storing[-100:], "embed": embedding[-100:], "read": reading, "find": finding}
                figures = ", ".join(
                    f"{name} {statistics.median(times):.1f} ms" for name, times in times_by_step.items()
                )
                print(f"{n} turns, {len(found)} vectors, {3 * n} rows: {figures}", flush=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--turns", type=int, default=2000)


def main(options: argparse.Namespace) -> None:
    """Prints the figures as the conversation grows."""
    asyncio.run(run(options.turns))
