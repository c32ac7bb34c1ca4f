from __future__ import annotations

import asyncio
import base64
import os
from dataclasses import replace

import pytest

from serving.core.principal import Principal
from serving.store.conversations import Conversations
from serving.store.relational.database import Database
from serving.store.turn_vectors import TurnVectors, WaitingTurn
from tests.contract.store.test_conversations import says

VECTOR = base64.b64encode(os.urandom(768)).decode()


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)


@pytest.fixture
def vectors(database: Database) -> TurnVectors:
    return TurnVectors(database)


async def talk(conversations: Conversations, who: Principal, turns: int = 3) -> str:
    made = await conversations.create(who)
    for n in range(turns):
        await conversations.add(who, made.id, [says("user", f"u{n}"), says("assistant", f"a{n}")])
    return made.id


async def embed(vectors: TurnVectors, who: Principal, id: str, *, keep: int = 100, limit: int = 100) -> list[int]:
    """Embeds what waits; returns the numbers of its turns."""
    waiting = await vectors.waiting(who, id, "e", keep=keep, limit=limit)
    assert await vectors.put(who, id, "a", "e", dict.fromkeys(waiting, VECTOR), keep=keep) == len(waiting)
    return [w.turn for w in waiting]


async def test_vectors_are_stored_and_read_by_their_owner_only(conversations, vectors, alice, mallory) -> None:
    id = await talk(conversations, alice)
    assert await vectors.waiting(alice, id, "e", keep=100, limit=2) == [WaitingTurn(1, 2, 2), WaitingTurn(2, 4, 2)]
    assert await vectors.waiting(mallory, id, "e", keep=100, limit=2) == []
    assert await vectors.put(mallory, id, "a", "e", {WaitingTurn(1, 2, 2): VECTOR}, keep=100) == 0
    assert await embed(vectors, alice, id, limit=2) == [1, 2]
    assert await embed(vectors, alice, id) == [3]
    assert await embed(vectors, alice, id) == []
    [newest, *rest] = await vectors.of_conversation(alice, id, "e", limit=10)
    assert (newest.turn, newest.last_seq, newest.vector, len(rest)) == (3, 6, VECTOR, 2)
    assert await vectors.of_conversation(mallory, id, "e", limit=10) == []
    assert await vectors.of_conversation(alice, id, "other", limit=10) == []
    assert [i.seq for i in await vectors.items(alice, id, 2, limit=1)] == [3]
    assert await vectors.items(mallory, id, 2, limit=1) == []
    await conversations.delete(alice, id)
    assert await vectors.of_conversation(alice, id, "e", limit=10) == []
    assert await vectors.put(alice, id, "a", "e", {WaitingTurn(1, 2, 2): VECTOR}, keep=100) == 0


async def test_vectors_of_a_user_and_assistant_span_conversations(conversations, vectors, alice) -> None:
    ids = [await talk(conversations, alice, 2) for _ in range(2)]
    for id in ids:
        await embed(vectors, alice, id)
    found = await vectors.of_user(alice, "a", "e", limit=10)
    assert sorted({v.conversation_id for v in found}) == sorted(ids)
    assert len(found) == 4
    assert len(await vectors.of_user(alice, "a", "e", limit=3)) == 3
    assert await vectors.of_user(alice, "b", "e", limit=10) == []
    assert await vectors.of_user(replace(alice, user="bob"), "a", "e", limit=10) == []
    assert await vectors.of_user(replace(alice, tenant="evil"), "a", "e", limit=10) == []


async def test_a_turn_that_grew_or_lost_an_item_or_is_of_another_embedder_waits(conversations, vectors, alice) -> None:
    id = await talk(conversations, alice)
    await embed(vectors, alice, id)
    await conversations.add(alice, id, [says("assistant", "and more")])
    assert await vectors.waiting(alice, id, "e", keep=100, limit=9) == [WaitingTurn(3, 7, 3)]
    assert await embed(vectors, alice, id) == [3]
    [first, *_] = await conversations.following(alice, id)
    await conversations.delete_item(alice, id, first.id)
    assert await vectors.waiting(alice, id, "e", keep=100, limit=9) == [WaitingTurn(1, 2, 1)]
    assert await vectors.put(alice, id, "a", "e", {WaitingTurn(1, 2, 2): VECTOR}, keep=100) == 0  # it read what is gone
    assert [w.turn for w in await vectors.waiting(alice, id, "other", keep=100, limit=9)] == [1, 2, 3]


async def test_only_the_newest_vectors_are_kept(conversations, vectors, alice) -> None:
    id = await talk(conversations, alice, 5)
    await embed(vectors, alice, id, keep=3)
    assert [v.turn for v in await vectors.of_conversation(alice, id, "e", limit=9)] == [5, 4, 3]
    await conversations.add(alice, id, [says("user", "new")])
    assert await embed(vectors, alice, id, keep=3) == [6]
    assert [v.turn for v in await vectors.of_conversation(alice, id, "e", limit=9)] == [6, 5, 4]


async def test_an_embedding_never_outlives_an_item_of_its_turn(url: str, alice: Principal) -> None:
    async with Database(url) as one, Database(url) as two:
        for _ in range(10):
            id = await talk(Conversations(one), alice)
            waiting = await TurnVectors(one).waiting(alice, id, "e", keep=9, limit=9)
            [first, *_] = await Conversations(one).following(alice, id)
            await asyncio.gather(
                TurnVectors(one).put(alice, id, "a", "e", dict.fromkeys(waiting, VECTOR), keep=9),
                Conversations(two).delete_item(alice, id, first.id),
                TurnVectors(two).put(alice, id, "a", "e", dict.fromkeys(waiting, VECTOR), keep=9),
            )
            assert [v.turn for v in await TurnVectors(one).of_conversation(alice, id, "e", limit=9)] == [3, 2]
