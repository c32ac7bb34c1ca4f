"""Another's id is an unknown one: the same answer by the same statements, whatever is asked of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.conversations import Conversations, Item
from serving.store.errors import Conflict, StoreError
from serving.store.feedback import Rating, Ratings
from serving.store.relational.database import Database
from serving.store.relational.tables import conversations as conversation_rows
from serving.store.relational.tables import responses as response_rows
from serving.store.responses import NewResponse, Responses
from serving.store.sharing.shares import Shares
from serving.store.summaries import Summaries
from serving.store.turn_vectors import TurnVectors, WaitingTurn
from tests.store.captures import TURN, capture, keep

READS = [
    *(("conversation", name) for name in ("list_items", "last", "following", "newest", "summary", "turn", "vectors")),
    ("capture", "get"),
    ("response", "chain"),
    ("feedback", "get"),
]
"""What tells whether anything of a thing was changed or lost."""

Ask = Callable[[Principal, str], Awaitable[object]]


@pytest.fixture
def asks(database: Database, conversations: Conversations, captures: Captures) -> dict[str, dict[str, Ask]]:
    """Whatever the stores are asked about one thing, by its kind and by what is asked."""
    responses, ratings = Responses(database, conversations), Ratings(database)
    summaries, vectors, shares = Summaries(database), TurnVectors(database), Shares(database)
    up = Rating(thumb="up")

    async def summarise(p: Principal, id: str) -> object:
        return await summaries.put(p, None, [Item("msg_0", id, 1, p.tenant, 1, {}, 0.0)], "s")

    def follows(p: Principal, id: str) -> Awaitable[object]:
        body = {"id": "resp_of_bob", "output": []}
        return captures.record(p, None, response=NewResponse(body, [], id, previous_id=id))

    return {
        "conversation": {
            "get": conversations.get,
            "update": lambda p, id: conversations.update(p, id, metadata={"a": "b"}),
            "add": lambda p, id: conversations.add(p, id, TURN),
            "list_items": conversations.list_items,
            "last": conversations.last,
            "newest": conversations.newest,
            "following": conversations.following,
            "count_turns": conversations.count_turns,
            "get_item": lambda p, id: conversations.get_item(p, id, "msg_of_alice"),
            "delete_item": lambda p, id: conversations.delete_item(p, id, "msg_of_alice"),
            "summary": summaries.get,
            "summarise": summarise,
            "waiting": lambda p, id: vectors.waiting(p, id, "e", keep=9, limit=9),
            "turn": lambda p, id: vectors.items(p, id, 1, limit=9),
            "embed": lambda p, id: vectors.put(p, id, "a", "e", {WaitingTurn(1, 2, 2): "AAAA"}, keep=9),
            "vectors": lambda p, id: vectors.of_conversation(p, id, "e", limit=9),
            "rate": lambda p, id: ratings.create(p, ("session", id), up),
            "share": shares.sources,
            "turn of a completion": lambda p, id: captures.record(p, None, turn=(id, TURN)),
            "delete": conversations.delete,
        },
        "item": {"rate": lambda p, id: ratings.create(p, ("message", id), up)},
        "capture": {
            "get": captures.get,
            "update": lambda p, id: captures.update(p, id, metadata={"a": "b"}),
            "rate": lambda p, id: ratings.create(p, ("response", id), up),
            "reject": lambda p, id: ratings.create(p, ("response", "chatcmpl_of_bob"), Rating(rejected_id=id)),
            "delete": captures.delete,
        },
        "response": {
            "get": responses.get,
            "list_input": responses.list_input,
            "chain": lambda p, id: responses.chain(p, id, limit=9),
            "count_turns": responses.count_turns,
            "follow": follows,
            "delete": responses.delete,
        },
        "feedback": {"get": ratings.get, "delete": ratings.delete},
    }


@pytest.fixture
async def made(
    database: Database, conversations: Conversations, captures: Captures, alice: Principal, bob: Principal
) -> dict[str, str]:
    """Returns the ids of things of alice, by kind; all stores know one of each."""
    made = await conversations.create(alice, items=[TURN[0] | {"id": "msg_of_alice"}, TURN[1]])
    items = await conversations.following(alice, made.id)
    await Summaries(database).put(alice, None, items, "summary")
    await TurnVectors(database).put(alice, made.id, "a", "e", {WaitingTurn(1, 2, 2): "AAAA"}, keep=9)
    of_alice = capture(alice)
    await captures.record(alice, of_alice)
    await captures.record(bob, capture(bob, id="chatcmpl_of_bob"))
    body = {"id": "resp_of_alice", "output": []}
    await keep(Responses(database, conversations), alice, body, [TURN[0] | {"id": "msg_in"}])
    rating = await Ratings(database).create(alice, ("session", made.id), Rating(thumb="up"))
    return {
        "conversation": made.id,
        "item": "msg_of_alice",
        "capture": of_alice.id,
        "response": "resp_of_alice",
        "feedback": rating.id,
    }


@pytest.fixture
def bob(alice: Principal) -> Principal:
    return replace(alice, user="bob", key_id="key_b")


async def said(asked: Awaitable[object]) -> object:
    try:
        return await asked
    except StoreError as e:
        return type(e), str(e), getattr(e, "param", None)


async def test_rows_of_other_owners_are_queried_like_unknown_ones(
    asks: dict[str, dict[str, Ask]],
    made: dict[str, str],
    database: Database,
    alice: Principal,
    bob: Principal,
    mallory: Principal,
) -> None:
    statements: list[str] = []

    def see(sql: str) -> None:
        statements.append(re.sub(r"'[^']*'|\b\d+(\.\d+)?\b", "?", sql))

    event.listen(database._engine.sync_engine, "before_cursor_execute", lambda *args: see(args[2]))
    for engine in (database._blocking, database._committing):
        if engine is not None:  # SQLite's driver runs some of them without SQLAlchemy
            event.listen(engine, "checkout", lambda driver, *_: driver.set_trace_callback(see))
    if database.is_sqlite:
        await said(asks["conversation"]["newest"](alice, "conv_none"))  # opens the connection of the event loop
        assert database._lookups is not None
        database._lookups.driver.set_trace_callback(see)

    async def ask(ask: Ask, who: Principal, id: str) -> tuple[object, list[str]]:
        statements.clear()
        return await said(ask(who, id)), list(statements)

    before = {name: await said(asks[kind][name](alice, made[kind])) for kind, name in READS}
    for kind, named in asks.items():
        for name, question in named.items():
            for other in (bob, mallory):
                if name == "reject" and other is mallory:
                    continue  # what it was preferred to is bob's
                foreign, unknown = await ask(question, other, made[kind]), await ask(question, other, f"{kind}_none")
                assert foreign == unknown, f"{kind}: {name}"
                assert foreign[1], f"{kind}: {name} asks no store"
    after = {name: await said(asks[kind][name](alice, made[kind])) for kind, name in READS}
    assert after == before
    assert all(not isinstance(answer, tuple) and answer for answer in after.values())


async def test_an_id_that_another_chose_is_taken(
    database: Database, made: dict[str, str], alice: Principal, bob: Principal, mallory: Principal
) -> None:
    ratings, up = Ratings(database), Rating(thumb="up")
    before = await ratings.get(alice, made["feedback"])
    with pytest.raises(Conflict):
        await ratings.create(bob, ("response", "chatcmpl_of_bob"), up, id=before.id)
    assert await ratings.get(alice, before.id) == before
    await Captures(database).record(mallory, capture(mallory, id="chatcmpl_m"))
    assert (await ratings.create(mallory, ("response", "chatcmpl_m"), up, id=before.id)).tenant == mallory.tenant


async def test_lists_contain_only_the_callers_rows(
    database: Database, captures: Captures, made: dict[str, str], alice: Principal, bob: Principal, mallory: Principal
) -> None:
    shown = {who.user: [c.id for c in (await captures.list(who)).items] for who in (alice, bob, mallory)}
    assert shown == {"alice": [made["capture"]], "bob": ["chatcmpl_of_bob"], "mallory": []}
    ratings = Ratings(database)
    assert [f.id for f in (await ratings.list(alice)).items] == [made["feedback"]]
    for other in (bob, mallory):
        assert (await ratings.list(other)).items == []
        assert (await ratings.list(other, targets=[made["conversation"]])).items == []


@uninterrupted
async def test_rows_without_an_owner_belong_to_the_tenant(
    database: Database,
    conversations: Conversations,
    made: dict[str, str],
    alice: Principal,
    bob: Principal,
    mallory: Principal,
) -> None:
    async with database.write() as connection:
        for table in (conversation_rows, response_rows):
            await connection.execute(table.update().values(user=None))
    responses: Any = Responses(database, conversations)
    for who in (alice, bob):
        assert (await conversations.get(who, made["conversation"])).user is None
        assert len(await conversations.last(who, made["conversation"])) == 2
        assert (await responses.get(who, made["response"])).user is None
    for store, kind in ((conversations, "conversation"), (responses, "response")):
        with pytest.raises(StoreError):
            await store.get(mallory, made[kind])
