"""The sandbox that is opened when somebody needs it."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from serving.assistants.sandbox.on_demand import SandboxOnDemand
from serving.assistants.sandbox.pool import SandboxUnavailable, open_sandbox
from tests.unit.assistants.conftest import LIMITS


class Opened:
    """Opens real sandboxes and counts; the first `failing` times there is none."""

    def __init__(self, failing=0):
        self.times = self.closed = 0
        self._failing = failing

    @contextlib.asynccontextmanager
    async def __call__(self):
        self.times += 1
        if self.times <= self._failing:
            raise SandboxUnavailable("not yet")
        async with open_sandbox(LIMITS) as box:
            yield box
        self.closed += 1


async def test_the_sandbox_is_started_on_demand():
    opened = Opened()
    await SandboxOnDemand(opened).close()
    assert opened.times == 0


async def test_all_share_one_and_it_is_closed():
    opened = Opened()
    demand = SandboxOnDemand(opened)
    first, *rest = await asyncio.gather(*(demand.get() for _ in range(5)))
    assert all(box is first for box in rest)
    assert (await first.run("6 * 7")).answer == "42"
    await demand.close()
    assert (opened.times, opened.closed) == (1, 1)


async def test_after_a_failure_it_is_tried_again():
    demand = SandboxOnDemand(Opened(failing=1))
    with pytest.raises(SandboxUnavailable):
        await demand.get()
    assert (await (await demand.get()).run("1")).answer == "1"
    await demand.close()


async def test_a_disconnect_does_not_abort_the_shared_start():
    opened = Opened()
    demand = SandboxOnDemand(opened)
    hasty, patient = asyncio.create_task(demand.get()), asyncio.create_task(demand.get())
    await asyncio.sleep(0)
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    assert (await (await patient).run("1")).answer == "1"
    await demand.close()
    assert (opened.times, opened.closed) == (1, 1)


async def test_closing_after_a_failure_is_quiet():
    demand = SandboxOnDemand(Opened(failing=1))
    with pytest.raises(SandboxUnavailable):
        await demand.get()
    await demand.close()
