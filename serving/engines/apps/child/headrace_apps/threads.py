"""Threads of runs: Python cannot stop a thread, so a run occupies its slot until its last thread has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from .run import Run, running

T = TypeVar("T")

MIN_THREADS, THREADS_OF_A_RUN = 32, 4


class RunThreads(ThreadPoolExecutor):
    """Runs synchronous code in threads, and records the run of each."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future = super().submit(fn, *args, **kwargs)
        run = running()
        if run is not None:
            run.threads.add(future)
            future.add_done_callback(run.threads.discard)
        return future


class Places:
    """Slots for `count` concurrent runs, and the threads that they may use."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._most = max(MIN_THREADS, THREADS_OF_A_RUN * count)
        self._free = asyncio.Semaphore(count)
        self._left: list[set[Future[Any]]] = []

    def threads(self) -> RunThreads:
        """Returns an executor with enough threads for all runs."""
        return RunThreads(self._most, "run")

    @property
    def stuck(self) -> bool:
        """Returns whether no further run can start: threads of ended runs occupy all slots, or all threads."""
        return len(self._left) >= self._count or sum(map(len, self._left)) >= self._most

    @asynccontextmanager
    async def place_of(self, run: Run) -> AsyncIterator[None]:
        """Occupies a slot for a run."""
        await self._free.acquire()
        try:
            yield
        finally:
            self._end(run)

    def _end(self, run: Run) -> None:
        """Frees the slot of an ended run once its threads have ended."""
        going = {future for future in tuple(run.threads) if not future.done()}
        if not going:
            self._free.release()
            return
        self._left.append(going)
        loop = asyncio.get_running_loop()
        for future in tuple(going):
            future.add_done_callback(lambda ended: loop.call_soon_threadsafe(self._ended, going, ended))

    def _ended(self, going: set[Future[Any]], ended: Future[Any]) -> None:
        going.discard(ended)
        if not going:
            self._left = [each for each in self._left if each is not going]
            self._free.release()
