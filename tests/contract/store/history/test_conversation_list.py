"""A user's list of conversations, and conversations that begin like others."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy import insert

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import InvalidValue, NotFound
from serving.store.history.conversation_list import ConversationList
from serving.store.history.forks import COPIED_TOGETHER, Forks
from serving.store.history.titles import TITLE
from serving.store.relational.database import Database
from serving.store.relational.tables import conversations as rows
from tests.store.captures import TURN
from tests.store.statements import statements, uses_index


def asks(words: str) -> dict[str, object]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": words}]}


def says(words: str) -> dict[str, object]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": words}]}


@pytest.fixture
def listed(database: Database) -> ConversationList:
    return ConversationList(database)


@pytest.fixture
def forks(database: Database) -> Forks:
    return Forks(database)


async def test_the_list_shows_what_was_active_last(
    conversations: Conversations, listed: ConversationList, captures: Captures, alice: Principal, mallory: Principal
) -> None:
    first = await conversations.create(alice, items=[asks("  How do\nlocks work? " + "x" * 200)])
    second = await conversations.create(alice)
    await conversations.create(replace(alice, user="bob"), items=[asks("a secret of a colleague")])
    await conversations.create(mallory, items=[asks("a secret of another tenant")])
    assert [c.id for c in (await listed.page(alice)).items] == [second.id, first.id]
    await captures.record(alice, None, turn=(first.id, TURN), model="docs")
    newest, other = (await listed.page(alice)).items
    assert (newest.id, newest.item_count, newest.model) == (first.id, 1 + len(TURN), "docs")
    assert newest.title == ("How do locks work? " + "x" * 200)[:TITLE]
    assert newest.last_active_at > first.last_active_at
    assert (other.title, other.item_count, other.model) == ("", 0, None)


async def test_lists_are_filtered_and_paginated(
    conversations: Conversations, listed: ConversationList, alice: Principal
) -> None:
    made = [await conversations.create(alice, items=[asks(f"Question {n}_")]) for n in range(5)]
    ids = [c.id for c in reversed(made)]
    page = await listed.page(alice, limit=2)
    assert ([c.id for c in page.items], page.has_more) == (ids[:2], True)
    page = await listed.page(alice, limit=3, after=ids[1])
    assert ([c.id for c in page.items], page.has_more) == (ids[2:], False)
    changed = await conversations.update(alice, ids[0], title="Ferries", pinned=True, archived=True)
    assert (changed.title, changed.pinned, changed.archived, changed.metadata) == ("Ferries", True, True, {})
    for filters, found in (
        ({"pinned": True}, ids[:1]),
        ({"archived": False}, ids[1:]),
        ({"said": "ferr"}, ids[:1]),
        ({"said": "question 3_"}, ids[1:2]),
        ({"said": "%"}, []),
        ({"model": "none"}, []),
    ):
        assert [c.id for c in (await listed.page(alice, **filters)).items] == found, filters  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match="after"):
        await listed.page(replace(alice, user="bob"), after=ids[0])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("sluice", "ba"),
        ("SLUICE keeper", "a"),
        ("keeper  sluice", "a"),
        ("ferries keeper", ""),
        ("straße", "b"),
        ("ÜBER", "b"),
        ('"open"', "b"),
        ("C:\\locks", "b"),
        ("two\nlines", "b"),
        ("50%", "b"),
        ("أبواب", "c"),
        ("🛶", "c"),
        ("output_text", ""),
        ("assistant", ""),
        ("tool", ""),
        ("null", "d"),
        ("named", "e"),
        ("x y named", ""),
        ("   ", "edcba"),
    ],
)
async def test_words_are_found_in_titles_and_in_what_was_said(
    conversations: Conversations, listed: ConversationList, alice: Principal, mallory: Principal, words: str, found: str
) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "tool", "arguments": "{}", "status": "completed"}
    said = (
        [asks("Who opens it?"), says("The sluice keeper.")],
        [asks('He said "open" über Straße, C:\\locks\\two\nlines, 50%'), call, says("A Sluice.")],
        [asks("ما هي أبواب الماء؟ 🛶")],
        [asks("a null\0 character"), says("half \ud800 a pair")],
        [],
    )
    made = {name: await conversations.create(alice, items=items) for name, items in zip("abcde", said, strict=True)}
    await conversations.update(alice, made["e"].id, title="Named by hand")
    for who in (replace(alice, user="bob"), mallory):
        await conversations.create(who, items=[item for items in said for item in items])
    names = {one.id: name for name, one in made.items()}
    assert "".join(names[one.id] for one in (await listed.page(alice, said=words)).items) == found


async def test_a_title_goes_with_the_question_that_it_repeats(conversations: Conversations, alice: Principal) -> None:
    made = await conversations.create(alice, items=[asks("My password is hunter2"), says("Do not tell.")])
    [_, question] = (await conversations.list_items(alice, made.id)).items
    left = await conversations.delete_item(alice, made.id, question.id)
    assert (left.title, left.item_count) == ("", 1)
    await conversations.add(alice, made.id, [asks("Another")])
    await conversations.update(alice, made.id, title="Kept")
    [newest, _] = (await conversations.list_items(alice, made.id)).items
    assert (await conversations.delete_item(alice, made.id, newest.id)).title == "Kept"


async def test_all_of_a_user_are_deleted(
    conversations: Conversations, listed: ConversationList, alice: Principal, mallory: Principal
) -> None:
    bob = replace(alice, user="bob")
    for who in (alice, bob, mallory):
        for _ in range(2):
            await conversations.create(who, items=TURN)
    recorded: list[tuple[int, bool]] = []

    async def record(deleted: int, last: bool) -> None:
        recorded.append((deleted, last))

    assert await listed.delete_all(alice, record) == 2
    assert await listed.delete_all(alice, record) == 0
    assert recorded == [(2, True), (0, True)]
    assert [len((await listed.page(who)).items) for who in (alice, bob, mallory)] == [0, 2, 2]


async def test_items_with_the_character_nul_are_copied(
    conversations: Conversations, forks: Forks, alice: Principal
) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a": "b\0"}', "status": "completed"}
    said = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a\0b"}]}
    made = await conversations.create(alice, items=[said, call])
    items = await conversations.following(alice, made.id)
    copy = await forks.fork(alice, made.id, items[-1].id)
    copied = await conversations.following(alice, copy.id)
    assert [item.body for item in copied] == [item.body for item in items]
    assert [item.id.partition("_")[0] for item in copied] == ["msg", "fc"]


async def test_a_fork_can_end_before_an_item(conversations: Conversations, forks: Forks, alice: Principal) -> None:
    made = await conversations.create(alice)
    for n in range(2):
        await conversations.add(alice, made.id, [asks(f"Question {n}"), says(f"Answer {n}")])
    items = [item async for item in everything(conversations, alice, made.id)]
    second = await forks.fork(alice, made.id, None, before=items[2].id)
    assert (second.item_count, second.last_seq, second.last_turn, second.title) == (2, 2, 1, "Question 0")
    empty = await forks.fork(alice, made.id, None, before=items[0].id)
    assert (empty.item_count, empty.last_seq, empty.last_turn, empty.title) == (0, 0, 0, "")
    [added] = await conversations.add(alice, empty.id, [asks("Another one")])
    assert (added.seq, added.turn, (await conversations.get(alice, empty.id)).title) == (1, 1, "Another one")
    with pytest.raises(InvalidValue) as refused:
        await forks.fork(alice, made.id, None, before="msg_none")
    assert refused.value.param == "before"


async def test_branches_are_the_family_of_a_conversation(
    conversations: Conversations, forks: Forks, alice: Principal, mallory: Principal
) -> None:
    made = await conversations.create(alice)
    for n in range(2):
        await conversations.add(alice, made.id, [asks(f"Question {n}"), says(f"Answer {n}")])
    items = [item async for item in everything(conversations, alice, made.id)]
    second = await forks.fork(alice, made.id, None, before=items[2].id)
    await conversations.add(alice, second.id, [asks("Question 1, again"), says("Answer 1, again")])
    copied = [item async for item in everything(conversations, alice, second.id)]
    third = await forks.fork(alice, second.id, copied[2].id)
    empty = await forks.fork(alice, made.id, None, before=items[0].id)
    await conversations.add(alice, empty.id, [asks("Something else")])
    await conversations.create(alice, items=[asks("No relative")])
    family = [(made.id, None, 0), (second.id, made.id, 2), (third.id, second.id, 3), (empty.id, made.id, 0)]
    for id in (made.id, second.id, third.id, empty.id):
        found = await forks.branches(alice, id)
        assert [(each.id, each.forked_from, each.shared) for each in found] == family
    for who, id in ((mallory, made.id), (replace(alice, user="bob"), made.id), (alice, "conv_none")):
        with pytest.raises(NotFound):
            await forks.branches(who, id)
    await conversations.delete(alice, made.id)
    assert [each.id for each in await forks.branches(alice, third.id)] == [second.id, third.id]
    assert [each.id for each in await forks.branches(alice, empty.id)] == [empty.id]


async def test_a_fork_has_the_items_up_to_one(
    conversations: Conversations, forks: Forks, alice: Principal, mallory: Principal
) -> None:
    made = await conversations.create(alice, metadata={"a": "b"})
    for n in range(COPIED_TOGETHER // 2 + 1):
        await conversations.add(alice, made.id, [asks(f"Question {n}"), says(f"Answer {n}")])
    items = [item async for item in everything(conversations, alice, made.id)]
    counted: list[int] = []
    last = items[-3]
    fork = await forks.fork(alice, made.id, last.id, lambda count: lambda connection: counted.append(count))
    assert counted == [len(items) - 1]  # all but two, and the conversation
    assert (fork.forked_from, fork.metadata, fork.title) == (made.id, {"a": "b"}, "Question 0")
    assert (fork.item_count, fork.last_seq, fork.last_turn) == (len(items) - 2, last.seq, last.turn)
    copied = [item async for item in everything(conversations, alice, fork.id)]
    assert [(i.seq, i.turn, i.body) for i in copied] == [(i.seq, i.turn, i.body) for i in items[:-2]]
    assert not {i.id for i in copied} & {i.id for i in items}
    [added] = await conversations.add(alice, fork.id, [asks("Elsewhere")])
    assert added.turn == last.turn + 1
    assert len([item async for item in everything(conversations, alice, made.id)]) == len(items)
    for who, id, after, error in (
        (mallory, made.id, last.id, NotFound),
        (replace(alice, user="bob"), made.id, last.id, NotFound),
        (alice, fork.id, last.id, InvalidValue),  # it has a copy
    ):
        with pytest.raises(error):
            await forks.fork(who, id, after)


async def test_a_fork_of_large_items_takes_little_memory(
    conversations: Conversations, forks: Forks, alice: Principal
) -> None:
    made = await conversations.create(alice)
    for _ in range(20):
        [last] = await conversations.add(alice, made.id, [asks("x" * 1_000_000)])
    tracemalloc.start()
    try:
        fork = await forks.fork(alice, made.id, last.id)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert fork.item_count == 20


async def everything(conversations: Conversations, whose: Principal, id: str) -> AsyncIterator:  # type: ignore[type-arg]
    after = 0
    while found := await conversations.following(whose, id, after=after, limit=100):
        for item in found:
            yield item
        after = found[-1].seq


async def test_a_page_takes_few_statements_and_an_index(
    database: Database, listed: ConversationList, alice: Principal
) -> None:
    await many(database, alice)
    first = await listed.page(alice, limit=1)
    with statements(database) as seen:
        await listed.page(alice, after=first.items[0].id, archived=False, said="x")
    assert len(seen) <= 3, seen
    await uses_index(database, seen[-1], "ix_conversations_last_active_at")


@uninterrupted
async def many(database: Database, whose: Principal) -> None:
    row = {"tenant": whose.tenant, "user": whose.user, "metadata": {}, "last_seq": 0, "last_turn": 0, "created_at": 1.0}
    async with database.write() as connection:
        await connection.execute(insert(rows), [row | {"id": f"conv_{n}", "last_active_at": n} for n in range(50)])
