"""Quotas over several gateways and one store, and what is left of them when a gateway is killed."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from decimal import Decimal

import pytest
from sqlalchemy import select

from serving.config import QuotaLimit, Quotas
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.metering import keeper as keeping
from serving.metering.keeper import Keeper, QuotaExceeded, QuotaUnavailable
from serving.quotas.quota import Quota, quota
from serving.quotas.share import IDLE_S
from serving.store.errors import Conflict, NotFound, PlatformOnly, StoreUnavailable
from serving.store.quotas import LEASE_S, QuotaStore
from serving.store.relational.database import Database
from serving.store.relational.tables import quota_windows
from serving.store.usage import Usage, Used, Whose

NOON = 1_800_014_400.0
SECONDS = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limited(limit: int | str, window: str = "day", measure: str = "tokens", **more: str) -> Quota:
    given = QuotaLimit(window=window, measure=measure, limit=Decimal(limit), **more)  # type: ignore[arg-type]
    return quota("acme", "tenant", "acme", given)


def keeper(database: Database, clock: Clock, defaults: Quotas | None = None) -> Keeper:
    return Keeper(QuotaStore(database), Usage(database), defaults or Quotas(), clock=clock)


@asynccontextmanager
async def gateways(url: str, clock: Clock, many: int = 3) -> AsyncIterator[list[Keeper]]:
    async with AsyncExitStack() as stack:
        databases = [await stack.enter_async_context(Database(url, busy_timeout_s=120)) for _ in range(many)]
        yield [keeper(each, clock) for each in databases]


@uninterrupted
async def standing(database: Database) -> list[tuple[int, int]]:
    async with database.read() as connection:
        rows = await connection.execute(select(quota_windows.c.taken, quota_windows.c.used))
        return [(row.taken, row.used) for row in rows]


async def test_three_gateways_stay_within_a_budget(url, clock):
    budgets = sorted((limited(20_000), limited("0.5", measure="money", currency="EUR")), key=lambda each: each.id)
    random.seed(7)
    used = dict.fromkeys((each.id for each in budgets), 0)

    async def client(gateway: Keeper) -> None:
        for _ in range(5):
            need = random.randint(1, 400)
            with suppress(QuotaExceeded):
                units = [need if each.measure == "tokens" else need * 25_000 for each in budgets]
                held = await gateway.reserve(list(zip(budgets, units, strict=True)))
                await asyncio.sleep(0)
                for each, most in zip(held, units, strict=True):
                    part = most // 2
                    used[each.share.quota.id] += part
                    gateway.settle(each, part)

    async with gateways(url, clock) as three:
        await asyncio.gather(*(client(three[number % 3]) for number in range(64)))
        assert all(used[each.id] <= each.limit for each in budgets)
        assert all(used[each.id] > each.limit // 2 for each in budgets)  # it came to the end
        for gateway in three:
            await gateway.tell(all=True)
        async with Database(url) as database:
            assert sorted(await standing(database)) == sorted((units, units) for units in used.values())


async def test_the_last_unit_can_be_had_from_any_gateway(url, clock):
    budget = limited(10)
    async with gateways(url, clock) as (first, second, _):
        [held] = await first.reserve([(budget, 8)])
        with pytest.raises(QuotaExceeded) as reserved:
            await second.reserve([(budget, 3)])
        assert (reserved.value.spent, reserved.value.retry_after_s) == (False, 1)
        first.settle(held, 7)
        await first.tell()
        clock.time += 1
        [held] = await second.reserve([(budget, 3)])
        second.settle(held, 3)
        await second.tell()
        clock.time += 1
        with pytest.raises(QuotaExceeded) as spent:
            await first.reserve([(budget, 1)])
        assert spent.value.spent
        assert spent.value.retry_after_s == NOON // SECONDS * SECONDS + SECONDS - clock.time
        clock.time += SECONDS
        await first.reserve([(budget, 10)])


async def test_a_rejection_reserves_nothing_and_disconnects_release(database, clock):
    gateway = keeper(database, clock)
    both = sorted((limited(10), limited(5, "month")), key=lambda each: each.id)
    with pytest.raises(QuotaExceeded):
        await gateway.reserve([(each, 6) for each in both])
    asking = asyncio.create_task(gateway.reserve([(each, 5) for each in both]))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    clock.time += 2
    assert len(await gateway.reserve([(each, 5) for each in both])) == 2


async def test_reservations_count_in_their_own_window(database, clock):
    gateway, budget = keeper(database, clock), limited(10)
    [held] = await gateway.reserve([(budget, 10)])
    clock.time += SECONDS
    await gateway.reserve([(budget, 10)])
    gateway.settle(held, 4)
    await gateway.tell(all=True)
    assert sorted(await standing(database)) == [(4, 4), (10, 0)]


async def test_concurrent_requests_share_one_refill(database, clock, monkeypatch):
    gateway, budget = keeper(database, clock), limited(10_000)
    asked, take = [], QuotaStore.take

    def counted(self, *given):
        asked.append(given)
        return take(self, *given)

    monkeypatch.setattr(QuotaStore, "take", counted)
    made = await asyncio.gather(*(gateway.reserve([(budget, 2)]) for _ in range(32)))
    assert [each.units for [each] in made] == [2] * 32
    assert len(asked) == 6  # for 1, 2, 4, 8, 16, and 32 requests
    for [each] in made:
        gateway.settle(each, 2)
    await gateway.tell(all=True)
    assert await standing(database) == [(64, 64)]


async def test_a_slow_failing_store_is_queried_once(database, clock, monkeypatch):
    gateway, minute = keeper(database, clock), limited(100, "minute")
    asked = []

    async def gone(self, *given):
        asked.append(given)
        await asyncio.sleep(0)
        clock.time += 5 * keeping.GONE_S
        raise StoreUnavailable("no connection")

    monkeypatch.setattr(QuotaStore, "take", gone)
    made = await asyncio.gather(*(gateway.reserve([(minute, 1)]) for _ in range(20)))
    assert [each.units for [each] in made] == [1] * 20
    assert len(asked) == 1


async def test_usage_after_a_released_share_counts(database, clock):
    gateway, budget = keeper(database, clock), limited(10)
    for used in (4, 3):
        [held] = await gateway.reserve([(budget, used)])
        gateway.settle(held, used)
        await gateway.tell(all=True)
        clock.time += IDLE_S + 1
        await gateway.tell()
        assert not gateway.budgets()
    assert await standing(database) == [(7, 7)]


async def test_streams_of_a_gateway_that_died_end_with_its_lease(url, clock):
    streams = limited(3, "concurrent", "streams")
    async with gateways(url, clock) as (dead, alive, third):
        await dead.reserve([(streams, 1)])
        await dead.reserve([(streams, 1)])
        [held] = await alive.reserve([(streams, 1)])
        with pytest.raises(QuotaExceeded):
            await third.reserve([(streams, 1)])
        clock.time += LEASE_S - 1
        await alive.tell()  # prolongs its own
        clock.time += 2
        await third.reserve([(streams, 1)])
        await third.reserve([(streams, 1)])
        with pytest.raises(QuotaExceeded):
            await third.reserve([(streams, 1)])
        alive.settle(held, 0)
        await alive.tell()
        clock.time += 1
        await third.reserve([(streams, 1)])


async def test_without_the_store_a_minute_is_local_and_a_budget_fails_closed(database, clock, monkeypatch):
    gateway = keeper(database, clock)
    minute, budget, streams = limited(5, "minute", "requests"), limited(100), limited(2, "concurrent", "streams")
    [held] = await gateway.reserve([(budget, 10)])
    take = gateway._store.take

    async def gone(*args: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(gateway._store, "take", gone)
    gateway.settle(held, 0)
    await gateway.reserve([(budget, 10)])  # what is in hand
    with pytest.raises(QuotaUnavailable):
        await gateway.reserve([(budget, 1)])
    for _ in range(5):
        for each in await gateway.reserve([(minute, 1)]):
            gateway.settle(each, 1)
    with pytest.raises(QuotaExceeded):
        await gateway.reserve([(minute, 1)])
    await gateway.reserve([(streams, 1)])
    [stream] = await gateway.reserve([(streams, 1)])
    with pytest.raises(QuotaExceeded):
        await gateway.reserve([(streams, 1)])
    gateway.settle(stream, 0)
    await gateway.reserve([(streams, 1)])

    monkeypatch.setattr(gateway._store, "take", take)
    clock.time += keeping.GONE_S
    await gateway.tell()  # and the store learns of what went by
    assert (5, 5) in await standing(database)
    await gateway.reserve([(budget, 1)])


async def test_unreported_usage_is_retried(database, clock, monkeypatch):
    gateway, budget = keeper(database, clock), limited(100)
    [held] = await gateway.reserve([(budget, 60)])
    gateway.settle(held, 40)
    post = gateway._store.post

    async def wrong(*args: object) -> None:
        raise OverflowError

    monkeypatch.setattr(gateway._store, "post", wrong)
    with pytest.raises(OverflowError):
        await gateway.tell(all=True)
    assert gateway.share(budget).left == 60
    monkeypatch.setattr(gateway._store, "post", post)
    await gateway.tell(all=True)
    assert await standing(database) == [(40, 40)]


async def test_cancelled_reports_count_usage_once(database, clock, monkeypatch):
    gateway = keeper(database, clock)
    whose, add = Whose("acme", "2026-01-31", "alice", "key_a", "m", ""), gateway._usage.add

    async def cancelled_after(counted: object) -> None:
        await add(counted)
        raise asyncio.CancelledError

    gateway.count(whose, Used(1, 10, 5, 7))
    monkeypatch.setattr(gateway._usage, "add", cancelled_after)
    with pytest.raises(asyncio.CancelledError):
        await gateway.tell()
    monkeypatch.setattr(gateway._usage, "add", add)
    await gateway.tell()
    asked = {"by": "model", "first_day": "2026-01-01", "last_day": "2026-01-31"}
    [found] = (await gateway._usage.list_usage(Principal("acme", "alice", "key_a"), **asked)).items
    assert (found.requests, found.prompt_tokens) == (1, 10)


async def test_changed_limits_reach_every_gateway(url, clock):
    alice = Principal("acme", "alice", "key_a", frozenset({"platform"}))
    async with gateways(url, clock) as (first, second, _):
        assert first.quotas_for(alice, "m") == ()
        await first._store.put(alice, [limited(100)])
        for gateway in (first, second):
            await gateway.tell()
        [budget] = second.quotas_for(alice, "m")
        [held] = await second.reserve([(budget, 60)])
        second.settle(held, 60)
        await first._store.put(alice, [limited(50)])
        await second.tell()
        [budget] = second.quotas_for(alice, "m")
        with pytest.raises(QuotaExceeded):
            await second.reserve([(budget, 1)])
        await first._store.delete(alice, budget.id)
        with pytest.raises(NotFound):
            await first._store.delete(Principal("evil", "alice", "k"), budget.id)
        await second.tell()
        assert second.quotas_for(alice, "m") == ()


KILLED = """
import asyncio, json, sys
from decimal import Decimal
from serving.config import QuotaLimit, Quotas
from serving.metering.keeper import Keeper, QuotaExceeded
from serving.quotas.quota import quota
from serving.store.relational.database import Database
from serving.store.quotas import QuotaStore
from serving.store.usage import Usage

budget = quota("acme", "tenant", "acme", QuotaLimit(window="day", measure="tokens", limit=Decimal(sys.argv[2])))

async def client(gateway):
    while True:
        try:
            [held] = await gateway.reserve([(budget, 50)])
        except QuotaExceeded:
            print("refused", flush=True)
            await asyncio.sleep(0.01)
            continue
        print(30, flush=True)  # used, before anybody else learns of it
        await asyncio.sleep(0.001)
        gateway.settle(held, 30)

async def main():
    async with Database(sys.argv[1]) as database:
        gateway = Keeper(QuotaStore(database), Usage(database), Quotas())
        await gateway.start()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(client(gateway) for _ in range(8)))

asyncio.run(main())
"""


async def test_three_gateways_that_are_killed_used_no_more_than_the_budget(url, spawn):
    """Each process says what it uses before its gateway books it: what they said is the truth."""
    async with Database(url):
        pass
    limit = 6_000
    processes = [spawn(KILLED, url, str(limit)) for _ in range(3)]
    said = 0

    async def line(process) -> str:
        return (await asyncio.to_thread(process.stdout.readline)).strip()

    async def read(process, *, lines: int = limit, to_end: bool = False) -> None:
        """Adds up what a process says it uses, until it is refused or, `to_end`, until it is no more."""
        nonlocal said
        while lines and (found := await line(process)):
            if found != "refused":
                said += int(found)
                lines -= 1
            elif not to_end:
                return

    assert await asyncio.gather(*(line(process) for process in processes)) == ["ready"] * 3
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    await asyncio.gather(*(read(process, lines=10) for process in processes))
    processes[0].send_signal(signal.SIGKILL)
    await read(processes[0], to_end=True)
    await asyncio.gather(*(read(process) for process in processes[1:]))
    for process in processes[1:]:
        process.send_signal(signal.SIGKILL)
    await asyncio.gather(*(read(process, to_end=True) for process in processes[1:]))
    assert limit // 4 < said <= limit


async def test_usage_adds_up_and_is_paged(database, clock):
    gateway, alice = keeper(database, clock), Principal("acme", "alice", "key_a")
    await gateway.start()
    for model in ("a", "b", "a"):
        whose = Whose("acme", "2026-01-31", "alice", "key_a", model, "EUR" if model == "a" else "")
        gateway.count(whose, Used(1, 10, 5, 7))
    gateway.count(Whose("evil", "2026-01-31", "alice", "key_m", "a", ""), Used(1, 1, 1, 0))
    await gateway.close()
    usage, days = Usage(database), {"first_day": "2026-01-01", "last_day": "2026-01-31"}
    [first] = (page := await usage.list_usage(alice, by="model", **days, limit=1)).items
    assert page.has_more
    assert (first.id, first.requests, first.prompt_tokens, first.cost) == ("a", 2, 20, {"EUR": 14})
    [second] = (await usage.list_usage(alice, by="model", **days, after="a")).items
    assert (second.id, second.completion_tokens, second.cost) == ("b", 5, {})
    [user] = (await usage.list_usage(alice, by="user", **days)).items
    assert user.requests == 3
    assert (await usage.list_usage(alice, by="day", first_day="2026-02-01", last_day="2026-02-02")).items == []


async def test_quotas_of_a_tenant_do_not_use_up_the_platforms_limit(database, monkeypatch):
    monkeypatch.setattr("serving.store.quotas.MOST", 1)
    store = QuotaStore(database)
    admin, platform = (Principal("acme", "a", "k", frozenset(scopes)) for scopes in (("admin",), ("admin", "platform")))
    own = [quota("acme", "user", user, QuotaLimit(window="day", measure="tokens", limit=1), "tenant") for user in "ab"]
    await store.put(admin, own[:1])
    with pytest.raises(Conflict):
        await store.put(admin, own[1:])
    with pytest.raises(PlatformOnly):
        await store.put(admin, [limited(1)])
    await store.put(platform, [limited(1)])
    assert {each.set_by for each in (await store.list_quotas(admin)).items} == {"tenant", "platform"}
    with pytest.raises(PlatformOnly):
        await store.delete(admin, limited(1).id)
    await store.delete(admin, own[0].id)
    await store.delete(platform, limited(1).id)
