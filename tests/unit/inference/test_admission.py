"""Bounded admission: order, bounds, time-outs and cancellation never lose a place."""

from __future__ import annotations

import asyncio

import pytest

from serving.config import Limits
from serving.inference.admission import Admission
from serving.protocol.errors import ApiError


def admission(in_flight=1, queue=2, queue_timeout_s=5.0):
    return Admission(Limits(in_flight=in_flight, queue=queue, queue_timeout_s=queue_timeout_s))


async def hold(a, entered, release):
    async with a.admit():
        entered.append(asyncio.current_task().get_name())
        await release.wait()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_queue_is_bounded_and_in_order():
    a, entered, release = admission(), [], asyncio.Event()
    tasks = [asyncio.create_task(hold(a, entered, release), name=str(i)) for i in range(3)]
    await settle()
    assert entered == ["0"]
    with pytest.raises(ApiError) as e:
        async with a.admit():
            pass
    assert e.value.code == "overloaded"
    assert e.value.headers["Retry-After"]
    release.set()
    await asyncio.gather(*tasks)
    assert entered == ["0", "1", "2"]
    assert a._active == 0


async def test_background_requests_have_limited_slots_and_lowest_priority():
    a, entered, release = admission(in_flight=4), [], asyncio.Event()
    gates = [asyncio.Event() for _ in range(3)]

    async def behind(number):
        async with a.admit(background=True):
            entered.append(f"behind {number}")
            await gates[number].wait()

    quiet = [asyncio.create_task(behind(number)) for number in range(3)]
    await settle()
    assert entered == ["behind 0", "behind 1"], "half of the places"
    tasks = [asyncio.create_task(hold(a, entered, release), name=str(i)) for i in range(3)]
    await settle()
    assert entered[2:] == ["0", "1"]
    gates[0].set()
    await settle()
    assert entered[4:] == ["2"], "who waits goes first"
    release.set()
    await asyncio.gather(*tasks)
    await settle()
    assert entered[5:] == ["behind 2"]
    quiet[2].cancel()
    gates[1].set()
    await asyncio.gather(*quiet, return_exceptions=True)
    assert (a._active, a._in_background) == (0, 0)


async def test_a_wait_that_is_too_long_is_a_429_and_leaves_no_hole():
    a, entered, release = admission(queue_timeout_s=0.01), [], asyncio.Event()
    task = asyncio.create_task(hold(a, entered, release), name="0")
    await settle()
    with pytest.raises(ApiError) as e:
        async with a.admit():
            pass
    assert e.value.code == "overloaded"
    release.set()
    await task
    assert (a._active, len(a._waiting)) == (0, 0)


async def test_a_cancelled_wait_passes_its_place_on():
    a, entered, release = admission(), [], asyncio.Event()
    first = asyncio.create_task(hold(a, entered, release), name="0")
    await settle()
    second = asyncio.create_task(hold(a, entered, release), name="1")
    third = asyncio.create_task(hold(a, entered, release), name="2")
    await settle()
    release.set()
    await asyncio.sleep(0)  # the first ends, and the place goes to the second ...
    second.cancel()  # ... which is cancelled before it wakes
    await asyncio.gather(first, second, third, return_exceptions=True)
    assert entered == ["0", "2"]
    assert (a._active, len(a._waiting)) == (0, 0)
