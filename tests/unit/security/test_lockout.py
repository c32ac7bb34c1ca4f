"""Who tries keys waits longer after each."""

from __future__ import annotations

import asyncio

import pytest

from serving.security.lockout import FORGOTTEN_S, FREE, LONGEST_S, TOGETHER, LockedOut, Lockout, network


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [1000.0]
    monkeypatch.setattr("serving.security.lockout.monotonic", lambda: time[0])
    return time


async def wrong(lockout: Lockout, address: str, times: int = 1) -> None:
    for _ in range(times):
        async with lockout.look_up(address) as attempt:
            attempt.wrong()


async def wait(lockout: Lockout, address: str) -> int:
    try:
        async with lockout.look_up(address):
            return 0
    except LockedOut as e:
        return e.retry_after_s


async def test_each_further_wrong_key_costs_twice_the_time(clock: list[float]) -> None:
    lockout = Lockout()
    await wrong(lockout, "192.0.2.1", FREE)
    waits = []
    for _ in range(12):
        waits.append(await wait(lockout, "192.0.2.1"))
        clock[0] += waits[-1]
        await wrong(lockout, "192.0.2.1")
    assert waits == [min(2**n, LONGEST_S) for n in range(12)]
    assert await wait(lockout, "192.0.2.2") == 0


async def test_idle_addresses_are_reset(clock: list[float]) -> None:
    lockout = Lockout()
    await wrong(lockout, "192.0.2.1", FREE)
    clock[0] += FORGOTTEN_S + 1
    await wrong(lockout, "192.0.2.1", FREE - 1)
    assert await wait(lockout, "192.0.2.1") == 0


async def test_valid_keys_do_not_reset_failures(clock: list[float]) -> None:
    """Who has one could try others between."""
    lockout = Lockout()
    for _ in range(FREE - 1):
        await wrong(lockout, "192.0.2.1")
        assert await wait(lockout, "192.0.2.1") == 0
    await wrong(lockout, "192.0.2.1")
    assert await wait(lockout, "192.0.2.1") > 0


async def test_concurrent_guesses_are_limited_like_sequential_ones(clock: list[float]) -> None:
    lockout = Lockout()
    looked_up = 0

    async def guess() -> None:
        nonlocal looked_up
        async with lockout.look_up("192.0.2.1") as attempt:
            looked_up += 1
            await asyncio.sleep(0)
            attempt.wrong()

    results = await asyncio.gather(*(guess() for _ in range(1000)), return_exceptions=True)
    assert FREE <= looked_up < FREE + TOGETHER
    assert sum(isinstance(r, LockedOut) for r in results) == 1000 - looked_up


async def test_memory_is_bounded(clock: list[float]) -> None:
    lockout = Lockout(size=8)
    await wrong(lockout, "192.0.2.1", FREE)
    for n in range(100):
        await wrong(lockout, f"198.51.100.{n}")
        await wait(lockout, "192.0.2.1")  # who goes on trying is not forgotten
    assert len(lockout) == 8
    assert await wait(lockout, "192.0.2.1") > 0


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::5", "2001:db8:1:2::/64"),
        ("", "unknown"),
        ("a, b", "unknown"),
        ("203.0.113.7:51234", "203.0.113.7"),
        ("[2001:db8:1:2::5]:443", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::5", "2001:db8:1:2::/64"),
        (":", "unknown"),
    ],
)
def test_addresses_are_grouped_by_network(address: str, name: str) -> None:
    assert network(address) == name
