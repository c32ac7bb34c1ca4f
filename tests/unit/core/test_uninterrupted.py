from __future__ import annotations

import asyncio

import pytest

from serving.core.uninterrupted import finish, uninterrupted


async def test_result_and_error_pass() -> None:
    async def good() -> int:
        return 7

    async def bad() -> None:
        raise KeyError("x")

    assert await finish(good()) == 7
    with pytest.raises(KeyError):
        await finish(bad())


async def test_cancellation_waits_for_the_end() -> None:
    entered, leave, ended = asyncio.Event(), asyncio.Event(), []

    @uninterrupted
    async def work() -> None:
        entered.set()
        await leave.wait()
        ended.append(True)

    task = asyncio.create_task(work())
    await entered.wait()
    for _ in range(3):  # however often
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [True]
