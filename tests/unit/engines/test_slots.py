"""Who has which of llama.cpp's slots."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.engines.slots import Slots


class Held:
    """Leases of slots, and the slots that were cleared."""

    def __init__(self, count: int) -> None:
        self.cleared: list[int] = []
        self.fails = False
        self.slots = Slots(count, self._clear)
        self.open: dict[str, contextlib.AsyncExitStack] = {}

    async def _clear(self, number: int) -> None:
        await asyncio.sleep(0)
        if self.fails:
            raise RuntimeError("the engine is gone")
        self.cleared.append(number)

    async def take(self, lease: str, owner: str, user: str = "") -> int:
        stack = contextlib.AsyncExitStack()
        number = await stack.enter_async_context(self.slots.hold(owner, user or owner))
        self.open[lease] = stack
        return number

    async def end(self, lease: str) -> None:
        await self.open.pop(lease).aclose()

    async def once(self, owner: str, user: str = "") -> int:
        number = await self.take("once", owner, user)
        await self.end("once")
        return number


async def waits(task: asyncio.Task[int]) -> bool:
    for _ in range(10):
        await asyncio.sleep(0)
    return not task.done()


async def test_returning_users_reuse_their_slot() -> None:
    held = Held(2)
    first = await held.once("acme", "ann")
    assert await held.once("acme", "ben") != first
    assert await held.once("acme", "ann") == first
    assert held.cleared == []


async def test_slots_are_cleared_between_users() -> None:
    held = Held(1)
    for owner in ("acme", "evil", "evil", "acme"):
        await held.once(owner)
    assert held.cleared == [0, 0]


async def test_a_slot_that_could_not_be_cleared_is_cleared_for_the_next() -> None:
    held = Held(1)
    await held.once("acme")
    held.fails = True
    with pytest.raises(RuntimeError, match="gone"):
        await held.once("evil")
    held.fails = False
    await held.once("evil")
    assert held.cleared == [0]


async def test_owners_never_share_a_slot_and_wait_in_order() -> None:
    held = Held(1)
    await held.take("a", "acme")
    await held.take("b", "acme")  # its own it may share
    evil = asyncio.create_task(held.take("c", "evil"))
    assert await waits(evil)
    late = asyncio.create_task(held.take("d", "acme"))  # nor does it overtake who waits
    assert await waits(late)
    await held.end("a")
    assert await waits(evil)
    await held.end("b")
    assert await evil == 0
    assert held.cleared == [0]
    await held.end("c")
    assert await late == 0
    assert held.cleared == [0, 0]


async def test_abandoned_waits_hold_no_slot() -> None:
    held = Held(1)
    await held.take("a", "acme")
    gone = asyncio.create_task(held.take("b", "evil"))
    assert await waits(gone)
    next_one = asyncio.create_task(held.take("c", "third"))
    assert await waits(next_one)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await held.end("a")
    assert await next_one == 0
    await held.end("c")
    assert await held.once("acme") == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
@settings(deadline=None, max_examples=60)
def test_slots_leak_nothing_between_users(steps: list[tuple[int, bool]]) -> None:
    """Whatever comes and goes: what a slot holds when it is given is its owner's, or nobody's."""
    asyncio.run(_come_and_go(steps))


async def _come_and_go(steps: list[tuple[int, bool]]) -> None:
    holds: dict[int, str] = {}  # whose prompt a slot holds

    async def clear(number: int) -> None:
        await asyncio.sleep(0)
        holds.pop(number, None)

    slots = Slots(2, clear)

    async def lease(owner: str, end: asyncio.Event) -> None:
        async with slots.hold(owner, owner) as number:
            assert holds.setdefault(number, owner) == owner
            await end.wait()
            assert holds[number] == owner

    running: list[tuple[asyncio.Task[None], asyncio.Event]] = []
    for who, ends in steps:
        if ends and running:
            task, end = running.pop(who % len(running))
            end.set() if who % 2 else task.cancel()
            await asyncio.sleep(0)
        else:
            end = asyncio.Event()
            running.append((asyncio.create_task(lease("abcd"[who], end)), end))
            for _ in range(who):
                await asyncio.sleep(0)
    for _, end in running:
        end.set()
    results = await asyncio.wait_for(asyncio.gather(*(task for task, _ in running), return_exceptions=True), 5)
    assert not [r for r in results if r is not None]
