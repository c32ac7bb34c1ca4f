"""Tenants share places: none takes all, and a free one goes to whoever has the fewest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serving.core.places import SharedPlaces


class Work:
    """Pieces of work, each of which holds a place until it is ended."""

    def __init__(self, places: SharedPlaces) -> None:
        self._places = places
        self.running: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def _run(self, name: str) -> None:
        async with self._places.place(name[0]):
            self.running.append(name)
            try:
                await self._ends[name].wait()
            finally:
                self.running.remove(name)

    async def begin(self, *names: str) -> list[str]:
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks[name] = asyncio.create_task(self._run(name))
        return await self.settled()

    async def end(self, name: str) -> list[str]:
        self._ends[name].set()
        return await self.settled()

    async def cancel(self, name: str) -> list[str]:
        self._tasks[name].cancel()
        return await self.settled()

    async def settled(self) -> list[str]:
        for _ in range(10):
            await asyncio.sleep(0)
        return sorted(self.running)

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


@asynccontextmanager
async def working(places: int, each: int) -> AsyncIterator[Work]:
    work = Work(SharedPlaces(places, each))
    try:
        yield work
    finally:
        await work.stop()


async def test_one_tenant_never_takes_all_places() -> None:
    async with working(3, 2) as work:
        assert await work.begin("a1", "a2", "a3", "a4") == ["a1", "a2"]
        assert await work.begin("b1") == ["a1", "a2", "b1"]
        assert await work.end("b1") == ["a1", "a2"]
        assert await work.end("a1") == ["a2", "a3"]


async def test_a_free_place_goes_to_the_tenant_with_the_fewest() -> None:
    async with working(3, 3) as work:
        assert await work.begin("a1", "a2", "b1", "a3", "b2", "c1") == ["a1", "a2", "b1"]
        assert await work.end("a1") == ["a2", "b1", "c1"]
        assert await work.end("a2") == ["a3", "b1", "c1"]
        assert await work.end("c1") == ["a3", "b1", "b2"]


async def test_who_gives_up_holds_no_place() -> None:
    async with working(1, 1) as work:
        assert await work.begin("a1", "b1", "c1") == ["a1"]
        assert await work.cancel("b1") == ["a1"]
        assert await work.cancel("a1") == ["c1"]
        assert await work.end("c1") == []
        assert await work.begin("b2") == ["b2"]


async def test_a_place_that_is_given_to_a_cancelled_one_is_given_on() -> None:
    async with working(1, 1) as work:
        await work.begin("a1", "b1", "c1")
        work._ends["a1"].set()
        stop: Callable[[], object] = work._tasks["b1"].cancel
        asyncio.get_running_loop().call_soon(stop)
        assert await work.settled() == ["c1"]
