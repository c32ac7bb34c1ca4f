"""Memory of the whole stack, sampled while it relays many requests, to see whether it grows."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

import psutil

from bench import load, results
from bench.processes import memory_usage
from bench.relay import upstream
from bench.relay.peers import Peer
from bench.results import Goal

SAMPLES = 25
GROWTH_MB = 30.0
"""Most growth over all requests of a line fitted through the samples after the first fifth."""


def run(peer: Peer, documents: Sequence[dict[str, Any]], requests: int, facts: dict[str, Any]) -> None:
    """Sends `requests` from 32 clients, samples the memory of `peer` SAMPLES times, and writes the figures."""
    seen, samples, by_process = asyncio.run(_weigh(peer, documents, requests))
    settled = samples[len(samples) // 5 :]
    growth = _slope([s["requests"] for s in settled], [s["PSS MB"] for s in settled]) * requests
    errors = sum(seen.errors.values())
    judged = [
        Goal(
            f"PSS flat over {requests:,} requests (fitted growth under {GROWTH_MB:g} MB)",
            round(growth, 1),
            growth < GROWTH_MB,
        ),
        Goal("incomplete streams: 0", errors, not errors),
    ]
    settings = {
        "Load": f"32 clients, {requests:,} requests in {seen.seconds:.0f} s through {peer.name} ({peer.settings})"
    }
    results.write("memory", samples, judged, facts, settings=settings, rounds=by_process)


async def _weigh(
    peer: Peer, documents: Sequence[dict[str, Any]], requests: int
) -> tuple[load.Result, list[dict[str, Any]], list[dict[str, Any]]]:
    finished = 0
    samples: list[dict[str, Any]] = []
    by_process: list[dict[str, Any]] = []

    def progress(number: int) -> None:
        nonlocal finished
        finished += 1

    async def sample() -> None:
        at, pids = finished, peer.pids()
        now = await asyncio.to_thread(memory_usage, pids)
        samples.append({"requests": at, "PSS MB": _mb(now.pss), "RSS MB": _mb(now.rss), "processes": now.processes})
        by_process.append({"requests": at, **await asyncio.to_thread(_memory_by_process, pids)})
        print(samples[-1], file=sys.stderr, flush=True)

    async def watch() -> None:
        while True:
            if finished >= len(samples) * requests // SAMPLES:
                await sample()
            await asyncio.sleep(0.2)

    watcher = asyncio.create_task(watch())
    seen = await load.run(
        peer.target, documents, clients=32, requests=requests, expected=upstream.TEXT, progress=progress
    )
    watcher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watcher
    await sample()
    return seen, samples, by_process


def _memory_by_process(pids: Sequence[int]) -> dict[str, float]:
    found = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            found[f"{psutil.Process(pid).name()} {pid}"] = _mb(memory_usage([pid]).pss)
    return found


def _mb(size: int) -> float:
    return round(size / 1e6, 1)


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    return statistics.linear_regression(x, y).slope if len(x) > 1 else 0.0
