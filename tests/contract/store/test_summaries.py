from __future__ import annotations

import asyncio

import pytest

from serving.core.principal import Principal
from serving.store.conversations import Conversations
from serving.store.relational.database import Database
from serving.store.summaries import MAX_CHARACTERS, Summaries
from tests.contract.store.test_conversations import says


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)


@pytest.fixture
def summaries(database: Database) -> Summaries:
    return Summaries(database)


async def talk(conversations: Conversations, who: Principal, count: int = 4):
    made = await conversations.create(who, items=[says("user", str(n)) for n in range(count)])
    return made.id, await conversations.following(who, made.id, limit=100)


async def test_a_summary_is_stored_and_replaced_by_its_owner_only(conversations, summaries, alice, mallory) -> None:
    id, items = await talk(conversations, alice)
    assert await summaries.get(alice, id) is None
    first = await summaries.put(alice, None, items[:2], "one")
    assert await summaries.get(alice, id) == first
    assert (first.text, first.last_seq) == ("one", 2)
    assert await summaries.get(mallory, id) is None
    assert await summaries.put(mallory, None, items[:2], "theirs") is None
    second = await summaries.put(alice, first, items[2:], "x\0" * MAX_CHARACTERS)
    assert await summaries.get(alice, id) == second
    assert (len(second.text), second.last_seq) == (MAX_CHARACTERS, 4)
    await conversations.delete(alice, id)
    assert await summaries.get(alice, id) is None
    assert await summaries.put(alice, None, items, "late") is None


async def test_summaries_based_on_outdated_ones_are_not_stored(conversations, summaries, alice) -> None:
    id, items = await talk(conversations, alice)
    first = await summaries.put(alice, None, items[:1], "first")
    later = await summaries.put(alice, first, items[1:3], "later")
    assert await summaries.put(alice, first, items[1:2], "slow") is None
    assert await summaries.put(alice, None, items[:4], "slower") is None
    assert await summaries.get(alice, id) == later


async def test_deleting_an_item_deletes_the_summary_covering_it(conversations, summaries, alice) -> None:
    id, items = await talk(conversations, alice)
    first = await summaries.put(alice, None, items[:2], "two")
    await conversations.delete_item(alice, id, items[3].id)
    assert await summaries.get(alice, id) == first  # it does not reach so far
    assert await summaries.put(alice, first, items[2:], "with the deleted one") is None
    await conversations.delete_item(alice, id, items[0].id)
    assert await summaries.get(alice, id) is None
    assert await summaries.put(alice, first, items[2:3], "from the one that went") is None
    assert await summaries.put(alice, None, items[:3], "with the deleted one") is None
    left = await conversations.following(alice, id)
    assert (await summaries.put(alice, None, left, "anew")).last_seq == 3


async def test_one_of_two_concurrent_summaries_is_stored(url: str, alice: Principal) -> None:
    async with Database(url) as one, Database(url) as two:
        id, items = await talk(Conversations(one), alice, 10)
        old = None
        for n in range(10):
            stored = await asyncio.gather(
                *(Summaries(db).put(alice, old, items[n : n + 1], f"{n}") for db in (one, two, one, two))
            )
            [old] = [s for s in stored if s is not None]
        assert (await Summaries(two).get(alice, id)).last_seq == 10


async def test_a_summary_never_outlives_an_item_that_it_covers(url: str, alice: Principal) -> None:
    async with Database(url) as one, Database(url) as two:
        for _ in range(10):
            id, items = await talk(Conversations(one), alice)
            await asyncio.gather(
                Summaries(one).put(alice, None, items[:3], "all"),
                Conversations(two).delete_item(alice, id, items[1].id),
            )
            assert await Summaries(one).get(alice, id) is None


async def test_items_after_a_position_are_listed(conversations, alice, mallory) -> None:
    id, items = await talk(conversations, alice, 30)
    assert [i.seq for i in await conversations.following(alice, id, after=5, limit=3)] == [6, 7, 8]
    assert await conversations.following(alice, id, after=30) == []
    assert await conversations.following(mallory, id) == []
    assert await conversations.following(alice, id, limit=100) == items
