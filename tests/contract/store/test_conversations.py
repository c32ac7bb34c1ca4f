from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from sqlalchemy import event, func, select

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.conversations import Conversations, Item, Newest
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.tables import conversation_items
from tests.store.captures import TURN, capture


def says(role: str, text: str) -> dict[str, object]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "status": "completed", "content": [{"type": kind, "text": text}]}


def texts(items: list[Item]) -> list[str]:
    return [item.body["content"][0]["text"] for item in items]


@uninterrupted
async def rows(database: Database) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(conversation_items))).scalar_one()


async def test_a_conversation_is_stored_changed_and_deleted_by_its_owner_only(
    conversations: Conversations, alice: Principal, mallory: Principal, database: Database
) -> None:
    made = await conversations.create(alice, metadata={"a": "1"}, items=[says("user", "hi"), says("assistant", "ho")])
    assert made.id.startswith("conv_")
    assert await conversations.get(alice, made.id) == made
    assert (await conversations.update(alice, made.id, metadata={"b": "2"})).metadata == {"b": "2"}
    items = (await conversations.list_items(alice, made.id, order="asc")).items
    assert [(i.seq, i.turn, i.body) for i in items] == [(1, 1, says("user", "hi")), (2, 1, says("assistant", "ho"))]
    assert await conversations.get_item(alice, made.id, items[0].id) == items[0]
    for call in (
        conversations.get(mallory, made.id),
        conversations.update(mallory, made.id, metadata={}),
        conversations.delete(mallory, made.id),
        conversations.add(mallory, made.id, [says("user", "x")]),
        conversations.list_items(mallory, made.id),
        conversations.get_item(mallory, made.id, items[0].id),
        conversations.delete_item(mallory, made.id, items[0].id),
    ):
        with pytest.raises(NotFound):
            await call
    assert await conversations.last(mallory, made.id) == []
    assert await conversations.count_turns(mallory, made.id) == 0
    assert (await conversations.list_items(alice, made.id, order="asc")).items == items
    await conversations.delete_item(alice, made.id, items[1].id)
    [added] = await conversations.add(alice, made.id, [says("user", "more")])
    assert (added.seq, added.turn) == (3, 2)
    other = await conversations.create(alice, items=[says("user", "stays")])
    await conversations.delete(alice, made.id)
    for call in (conversations.get(alice, made.id), conversations.add(alice, made.id, [says("user", "late")])):
        with pytest.raises(NotFound):
            await call
    assert await rows(database) == 1
    assert texts(await conversations.last(alice, other.id)) == ["stays"]


async def test_an_item_of_another_conversation_is_not_found(conversations: Conversations, alice: Principal) -> None:
    one, two = [await conversations.create(alice, items=[says("user", "x")]) for _ in range(2)]
    [item] = await conversations.last(alice, one.id)
    with pytest.raises(NotFound):
        await conversations.get_item(alice, two.id, item.id)
    with pytest.raises(NotFound):
        await conversations.delete_item(alice, two.id, item.id)
    with pytest.raises(InvalidValue, match="after"):
        await conversations.list_items(alice, two.id, after=item.id)


async def test_items_are_paginated(conversations: Conversations, alice: Principal) -> None:
    made = await conversations.create(alice)
    for start in range(0, 45, 15):  # those of one call have one time, so that only their numbers order them
        await conversations.add(alice, made.id, [says("user", str(n)) for n in range(start, start + 15)])
    for order, expected in (("asc", range(45)), ("desc", range(44, -1, -1))):
        found, after, more = [], None, True
        while more:
            page = await conversations.list_items(alice, made.id, after=after, order=order)
            found, after, more = [*found, *page.items], page.items[-1].id, page.has_more
        assert texts(found) == [str(n) for n in expected]
    newest = await conversations.last(alice, made.id, limit=10)
    assert texts(newest) == [str(n) for n in range(44, 34, -1)]
    assert texts(await conversations.last(alice, made.id, before=newest[-1].seq, limit=2)) == ["34", "33"]
    for bad in (0, 101):
        with pytest.raises(InvalidValue, match="limit"):
            await conversations.last(alice, made.id, limit=bad)


async def test_turns_begin_with_the_user(conversations: Conversations, alice: Principal) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"}
    output = {"type": "function_call_output", "call_id": "c", "output": "1", "status": "completed"}
    made = await conversations.create(alice, items=[says("system", "s"), says("user", "a"), says("user", "b"), call])
    await conversations.add(alice, made.id, [output, says("assistant", "c")])
    await conversations.add(alice, made.id, [says("user", "d")])
    await conversations.add(alice, made.id, [says("user", "e")])
    newest = await conversations.last(alice, made.id)
    assert [i.turn for i in reversed(newest)] == [0, 1, 1, 1, 1, 1, 2, 3]
    assert newest[-4].id.startswith("fc_")
    assert await conversations.count_turns(alice, made.id) == 4
    assert await conversations.count_turns(alice, made.id, before=newest[1].seq) == 2
    await conversations.delete_item(alice, made.id, newest[-1].id)
    assert await conversations.count_turns(alice, made.id) == 3


async def test_any_text_round_trips(conversations: Conversations, alice: Principal) -> None:
    odd = ["\0", "a\0b", "\ufffe\uffff", "\u202e", "日本 \U0001f511", '"\\', "é" * 100_000]
    made = await conversations.create(alice, items=[says("user", text) for text in odd])
    assert texts((await conversations.list_items(alice, made.id, order="asc")).items) == odd


async def test_invalid_requests_store_nothing(conversations: Conversations, alice: Principal, database) -> None:
    with pytest.raises(InvalidValue, match="metadata"):
        await conversations.create(alice, metadata={"a": "x" * 513}, items=[says("user", "x")])
    with pytest.raises(KeyError):
        await conversations.create(alice, items=[says("user", "x"), {"type": "unknown"}])
    assert await rows(database) == 0


async def test_concurrent_additions_are_ordered(url: str, alice: Principal) -> None:
    """Several clients of two replicas: every batch is whole, nothing is lost, no number is given twice."""
    async with Database(url) as one, Database(url) as two:
        stores = [Conversations(one), Conversations(two)]
        made = await stores[0].create(alice)

        async def client(name: int) -> None:
            for n in range(10):
                batch = [says("user", f"{name}/{n}"), says("assistant", f"{name}/{n}")]
                await stores[name % 2].add(alice, made.id, batch)

        await asyncio.gather(*(client(name) for name in range(8)))
        found, before = [], None
        while page := await stores[0].last(alice, made.id, before=before, limit=100):
            found += page
            before = page[-1].seq
    found.reverse()
    assert [i.seq for i in found] == list(range(1, 161))
    assert [i.turn for i in found] == [n // 2 + 1 for n in range(160)]
    pairs = list(zip(texts(found)[::2], texts(found)[1::2], strict=True))
    assert all(question == answer for question, answer in pairs)
    for name in range(8):
        assert [p for p, _ in pairs if p.startswith(f"{name}/")] == [f"{name}/{n}" for n in range(10)]


async def test_concurrent_deletion_leaves_no_items(url: str, alice: Principal) -> None:
    async with Database(url) as one, Database(url) as two:
        adds, deletes = Conversations(one), Conversations(two)

        async def add(id: str) -> None:
            for n in range(3):
                await adds.add(alice, id, [says("user", str(n))])

        for _ in range(10):
            made = await adds.create(alice)
            results = await asyncio.gather(
                add(made.id), add(made.id), deletes.delete(alice, made.id), return_exceptions=True
            )
            assert isinstance(results[2], int)
            assert all(r is None or isinstance(r, int | NotFound) for r in results)
        assert await rows(one) == 0


async def test_a_thousand_turns_are_a_row_each_and_read_in_part(
    conversations: Conversations, alice: Principal, database: Database
) -> None:
    made = await conversations.create(alice)
    for turn in range(0, 1000, 50):
        batch = [says(role, f"{role} {n}") for n in range(turn, turn + 50) for role in ("user", "assistant")]
        await conversations.add(alice, made.id, batch)
    assert await rows(database) == 2000
    assert await conversations.count_turns(alice, made.id) == 1000
    [newest, *_] = await conversations.last(alice, made.id, limit=2)
    assert (newest.seq, newest.turn) == (2000, 1000)


async def test_the_newest_items_come_with_the_number_of_turns(
    conversations: Conversations, alice: Principal, mallory: Principal
) -> None:
    made = await conversations.create(alice)
    assert await conversations.newest(alice, made.id) == Newest(0, [])
    said = [says(role, f"{role} {n}") for n in range(5) for role in ("user", "assistant")]
    added = await conversations.add(alice, made.id, said)
    for limit in (1, 4, 10, 11):
        assert await conversations.newest(alice, made.id, limit=limit) == Newest(5, added[::-1][:limit])
    await conversations.delete_item(alice, made.id, added[4].id)
    await conversations.delete_item(alice, made.id, added[5].id)
    assert (await conversations.newest(alice, made.id)).turns == 4
    for principal, id in ((mallory, made.id), (alice, "conv_none"), (alice, "\ud800")):
        with pytest.raises(NotFound):
            await conversations.newest(principal, id)
    for bad in (0, 101):
        with pytest.raises(InvalidValue):
            await conversations.newest(alice, made.id, limit=bad)


@pytest.mark.parametrize("turns", [0, 300])
async def test_a_turn_is_four_statements(
    conversations: Conversations, alice: Principal, database: Database, turns: int
) -> None:
    """To PostgreSQL each is a round trip, and so is each BEGIN and COMMIT: they are most of what a turn waits for."""
    made = await conversations.create(alice, items=TURN * turns)
    await conversations.newest(alice, made.id)  # opens SQLite's connection
    seen = Counter[str]()

    def see(sql: str) -> None:
        seen.update([sql.split()[0]])

    if database.is_sqlite:  # its driver alone runs them
        assert database._lookups is not None
        database._lookups.driver.set_trace_callback(see)
        event.listen(database._committing, "checkout", lambda driver, *_: driver.set_trace_callback(see))
    else:
        event.listen(database._engine.sync_engine, "begin", lambda connection: see("BEGIN"))
        event.listen(database._engine.sync_engine, "before_cursor_execute", lambda *args: see(args[2]))
    newest = await conversations.newest(alice, made.id)
    await Captures(database).record(alice, capture(alice, conversation_id=made.id), turn=(made.id, TURN))
    assert newest.turns == turns
    if database.is_sqlite:  # one statement sees one state without a transaction, and each row is a statement
        assert seen == {"SELECT": 1, "BEGIN": 1, "UPDATE": 1, "INSERT": 1 + len(TURN), "COMMIT": 1}
    else:
        assert seen == {"BEGIN": 2, "SELECT": 1, "UPDATE": 1, "INSERT": 2}
