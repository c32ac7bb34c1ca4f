"""Claims of keys, and transactions around several calls, in both databases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store import idempotency
from serving.store.conversations import Conversations
from serving.store.errors import Conflict, LeaseLost, NotFound, StoreUnavailable
from serving.store.feedback import Rating, Ratings
from serving.store.idempotency import KEPT_S, MAX_BODY, Claim, Earlier, IdempotencyKeys, KeptAnswer, claim_of, keep
from serving.store.relational import tables
from serving.store.relational.database import Database
from tests.store.captures import TURN

ANSWER = KeptAnswer("application/json", b'{"said":"\xc3\xbc"}')


@pytest.fixture
def keys(database: Database) -> IdempotencyKeys:
    return IdempotencyKeys(database)


@uninterrupted
async def change(database: Database, **values: Any) -> None:
    async with database.write() as connection:
        await connection.execute(tables.idempotency_keys.update().values(values))


@uninterrupted
async def count(database: Database, table: Any = tables.idempotency_keys) -> int:
    async with database.read() as connection:
        return len((await connection.execute(select(table))).all())


async def test_one_request_claims_a_key_and_others_see_it(keys: IdempotencyKeys, alice: Principal) -> None:
    first, second = claim_of(alice, "k", "f"), claim_of(alice, "k", "g")
    assert first.id == second.id
    assert await keys.claim(first) is None
    assert await keys.claim(second) == Earlier("f", in_flight=True)
    await keys.renew(first)
    with pytest.raises(LeaseLost):
        await keys.renew(second)
    await keys.release(second)  # not its own
    await keys.keep(first, ANSWER, "conv_1", {})
    assert await keys.claim(second) == Earlier("f", False, "conv_1", ANSWER)
    await keys.release(first)  # too late
    assert await keys.claim(second) == Earlier("f", False, "conv_1", ANSWER)


async def test_a_key_is_of_a_tenant_and_a_user(keys: IdempotencyKeys, alice: Principal, mallory: Principal) -> None:
    callers = [alice, mallory, Principal("acme", "bob", "key_b"), Principal("acme", 'alice", "', "key_c")]
    assert [await keys.claim(claim_of(caller, "k", "f")) for caller in callers] == [None] * 4
    again = Principal(alice.tenant, alice.user, "another key")  # a rotation between the two
    assert await keys.claim(claim_of(again, "k", "f")) == Earlier("f", in_flight=True)


async def test_a_released_key_is_free(keys: IdempotencyKeys, alice: Principal) -> None:
    first, second = claim_of(alice, "k", "f"), claim_of(alice, "k", "g")
    await keys.claim(first)
    await keys.release(first)
    assert await keys.claim(second) is None


async def test_an_expired_lease_is_taken_over(database: Database, keys: IdempotencyKeys, alice: Principal) -> None:
    dead, next_one = claim_of(alice, "k", "f"), claim_of(alice, "k", "g")
    await keys.claim(dead)
    await change(database, lease_until=1.0)
    assert await keys.claim(next_one) is None
    with pytest.raises(LeaseLost):
        await keys.keep(dead, ANSWER, "x", {})
    with pytest.raises(LeaseLost):
        await keys.renew(dead)
    await keys.keep(next_one, ANSWER, "x", {})
    assert (await keys.claim(dead)) == Earlier("g", False, "x", ANSWER)


async def test_an_expired_unclaimed_lease_can_be_renewed(
    database: Database, keys: IdempotencyKeys, alice: Principal
) -> None:
    slow = claim_of(alice, "k", "f")
    await keys.claim(slow)
    await change(database, lease_until=1.0)
    await keys.keep(slow, ANSWER, "x", {})
    assert await keys.claim(claim_of(alice, "k", "f")) == Earlier("f", False, "x", ANSWER)


async def test_expired_keys_are_deleted(database: Database, keys: IdempotencyKeys, alice: Principal) -> None:
    kept, _running, _dead = claims = [claim_of(alice, str(n), "f") for n in range(3)]
    for claim in claims:
        await keys.claim(claim)
    await keys.keep(kept, ANSWER, "x", {})
    assert await keys.prune() == 0
    long_ago = tables.idempotency_keys.c.created_at - KEPT_S
    await change(database, created_at=long_ago)
    assert await keys.prune() == 1  # one that runs since yesterday keeps its key
    assert await count(database, tables.idempotency_answers) == 0
    await change(database, lease_until=1.0)
    assert await keys.prune() == 2
    assert await keys.claim(kept) is None
    await keys.keep(kept, ANSWER, "x", {})
    await change(database, created_at=long_ago)
    assert await keys.claim(claim_of(alice, "0", "g")) is None  # also before they are pruned


async def test_pruning_deletes_all_expired_keys(
    database: Database, keys: IdempotencyKeys, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PRUNED_TOGETHER", 3)
    for n in range(7):
        await keys.claim(claim_of(alice, str(n), "f"))
    await change(database, lease_until=1.0)
    assert await keys.prune() == 7
    assert await count(database) == 0


@pytest.mark.parametrize(("size", "is_kept"), [(0, True), (MAX_BODY, True), (MAX_BODY + 1, False)])
async def test_only_answers_of_bounded_size_are_kept(
    keys: IdempotencyKeys, alice: Principal, size: int, is_kept: bool
) -> None:
    claim, answer = claim_of(alice, "k", "f"), KeptAnswer("text/event-stream", b"\xff" * size)
    await keys.claim(claim)
    await keys.keep(claim, answer, "x", {})
    assert await keys.claim(claim) == Earlier("f", False, "x", answer if is_kept else None)


async def test_stored_answers_are_deleted_with_their_capture(
    database: Database, keys: IdempotencyKeys, conversations: Conversations, alice: Principal
) -> None:
    told_of = (await conversations.create(alice, items=TURN)).id
    rating = await Ratings(database).create(alice, ("session", told_of), Rating(thumb="up"))
    both = {"conversation_id": told_of}, {"feedback_id": rating.id}
    claims = [claim_of(alice, str(n), "f") for n in range(2)]
    for claim, column in zip(claims, both, strict=True):
        await keys.claim(claim)
        await keys.keep(claim, ANSWER, told_of, column)
    await conversations.delete(alice, told_of)
    for claim in claims:
        assert await keys.claim(claim) == Earlier("f", False, told_of, None)


async def test_one_of_fifty_concurrent_requests_claims_the_key(new_url: Callable[[], str], alice: Principal) -> None:
    url = new_url()
    async with Database(url) as one, Database(url) as other:
        stores = [IdempotencyKeys(one), IdempotencyKeys(other)]
        for n in range(5):
            claims = [claim_of(alice, str(n), "f") for _ in range(50)]
            found = await asyncio.gather(*(stores[i % 2].claim(claim) for i, claim in enumerate(claims)))
            assert found.count(None) == 1
            assert [e for e in found if e is not None] == [Earlier("f", in_flight=True)] * 49
            await stores[0].keep(claims[found.index(None)], ANSWER, "x", {})


async def test_a_released_key_is_claimed_by_one_request_at_a_time(keys: IdempotencyKeys, alice: Principal) -> None:
    """Never two at a time, whatever the order of claims and releases."""
    holding = 0

    async def work(claim: Claim) -> None:
        nonlocal holding
        while await keys.claim(claim) is not None:
            await asyncio.sleep(0)
        holding += 1
        assert holding == 1
        holding -= 1
        await keys.release(claim)

    await asyncio.wait_for(asyncio.gather(*(work(claim_of(alice, "k", "f")) for _ in range(12))), 60)


RACE = """
import asyncio, json, sys
from serving.core.principal import Principal
from serving.store.relational.database import Database
from serving.store.idempotency import IdempotencyKeys, claim_of

async def main():
    async with Database(sys.argv[1]) as database:
        keys = IdempotencyKeys(database)
        print("ready", flush=True)
        sys.stdin.readline()
        me = Principal("t", "u", "k")
        found = await asyncio.gather(*(keys.claim(claim_of(me, str(n), "f")) for n in range(50)))
        print(json.dumps([n for n in range(50) if found[n] is None]), flush=True)

asyncio.run(main())
"""


def test_two_processes_never_claim_the_same_key(url: str, spawn: Callable[..., Any]) -> None:
    processes = [spawn(RACE, url) for _ in range(2)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    taken = [json.loads(process.stdout.readline()) for process in processes]
    assert sorted(taken[0] + taken[1]) == list(range(50))


async def test_calls_inside_are_one_transaction(
    database: Database, conversations: Conversations, alice: Principal
) -> None:
    async def work() -> str:
        made = await conversations.create(alice, items=TURN)
        await conversations.add(alice, made.id, TURN)  # shares a commit otherwise
        assert (await conversations.get(alice, made.id)).last_seq == 4  # a reader sees what was written before it
        assert len((await conversations.list_items(alice, made.id)).items) == 4
        return made.id

    id = await database.atomically(work)
    assert (await conversations.get(alice, id)).last_seq == 4

    async def fails() -> None:
        await conversations.add(alice, id, TURN)
        raise Conflict("no")

    with pytest.raises(Conflict):
        await database.atomically(fails)
    assert (await conversations.get(alice, id)).last_seq == 4


async def test_nested_failures_roll_back_alone(
    database: Database, conversations: Conversations, alice: Principal
) -> None:
    id = (await conversations.create(alice)).id

    @uninterrupted
    async def twice() -> None:
        async with database.write() as connection:
            for _ in range(2):
                await connection.execute(tables.meta.insert().values(key="k", value=""))

    async def work() -> None:
        await conversations.add(alice, id, TURN)
        with pytest.raises(IntegrityError):
            await twice()
        with pytest.raises(NotFound):
            await conversations.add(alice, "conv_gone", TURN)
        await conversations.add(alice, id, TURN)

    await database.atomically(work)
    assert (await conversations.get(alice, id)).last_seq == 4
    await the_key_is_free(database)


@uninterrupted
async def the_key_is_free(database: Database) -> None:
    async with database.write() as connection:
        await connection.execute(tables.meta.insert().values(key="k", value=""))


async def test_another_task_is_outside(database: Database, conversations: Conversations, alice: Principal) -> None:
    """It sees nothing of what is not yet committed, also in a database that has one writer."""
    made: list[str] = []
    inside, go = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        made.append((await conversations.create(alice)).id)
        inside.set()
        await go.wait()

    async def outside() -> None:
        await inside.wait()
        with pytest.raises(NotFound):
            await conversations.get(alice, made[0])
        go.set()

    await asyncio.gather(database.atomically(work), outside())
    assert (await conversations.get(alice, made[0])).id == made[0]


async def test_another_database_is_outside(new_url: Callable[[], str], alice: Principal) -> None:
    async with Database(new_url()) as one, Database(new_url()) as other:

        async def work() -> str:
            id = (await Conversations(other).create(alice)).id
            await Conversations(one).create(alice)
            raise Conflict(id)

        with pytest.raises(Conflict) as e:
            await one.atomically(work)
        assert (await Conversations(other).get(alice, str(e.value))).id == str(e.value)
        assert await count(one, tables.conversations) == 0


async def test_one_that_is_cancelled_is_carried_out(
    database: Database, conversations: Conversations, alice: Principal
) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        await conversations.create(alice)
        inside.set()
        await conversations.create(alice)

    task = asyncio.create_task(database.atomically(work))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(database, tables.conversations) == 2


async def test_repetitions_wait_for_the_transaction_of_the_first(new_url: Callable[[], str], alice: Principal) -> None:
    url = new_url()
    async with Database(url) as one, Database(url) as other:

        async def once(database: Database) -> Earlier | None:
            keys, claim = IdempotencyKeys(database), claim_of(alice, "k", "f")
            if (earlier := await keys.claim(claim)) is None:
                made = await Conversations(database).create(alice)
                await keys.keep(claim, ANSWER, made.id, {"conversation_id": made.id})
            return earlier

        def repeated(database: Database) -> Any:
            return database.atomically(lambda: once(database))

        found = await asyncio.gather(*(repeated((one, other)[n % 2]) for n in range(50)))
        assert found.count(None) == 1
        assert {e.answer for e in found if e is not None} == {ANSWER}
        assert await count(one, tables.conversations) == 1


async def test_a_lost_database_is_reported(alice: Principal) -> None:
    gone = Database("postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(StoreUnavailable):
        await gone.atomically(lambda: IdempotencyKeys(gone).claim(claim_of(alice, "k", "f")))
    await gone.close()


async def test_stored_answers_roll_back_with_their_transaction(
    database: Database, keys: IdempotencyKeys, conversations: Conversations, alice: Principal
) -> None:
    id, claim = (await conversations.create(alice)).id, claim_of(alice, "k", "f")
    await keys.claim(claim)

    def then(connection: Any, added: Any) -> None:
        keep(connection, claim, ANSWER, id, {"conversation_id": id})
        raise Conflict("no")

    with pytest.raises(Conflict):
        await conversations.add(alice, id, TURN, then)
    assert await keys.claim(claim_of(alice, "k", "f")) == Earlier("f", in_flight=True)
