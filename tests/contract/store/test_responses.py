from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import InvalidValue, NotFound
from serving.store.relational.database import Database
from serving.store.relational.prepared import VIOLATES
from serving.store.relational.tables import conversation_items
from serving.store.relational.tables import responses as table
from serving.store.responses import NewResponse, Responses, split
from tests.store.captures import capture, keep


def says(role: str, text: str) -> dict[str, object]:
    return {"id": new_id("msg"), "type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def made(*output: dict[str, object]) -> dict[str, object]:
    return {"id": new_id("resp"), "object": "response", "output": list(output)}


@pytest.fixture
def conversations(database: Database) -> Conversations:
    return Conversations(database)


@pytest.fixture
def responses(database: Database, conversations: Conversations) -> Responses:
    return Responses(database, conversations)


@uninterrupted
async def rows(database: Database, of=table) -> int:
    async with database.read() as connection:
        return (await connection.execute(select(func.count()).select_from(of))).scalar_one()


async def grow(responses: Responses, principal: Principal, names: str, previous: str | None = None) -> list[str]:
    """Returns the ids of a chain of responses, one for each letter."""
    ids = []
    for name in names:
        body = made(says("assistant", name.upper()))
        await keep(responses, principal, body, [says("user", name)], previous_id=previous)
        previous = str(body["id"])
        ids.append(previous)
    return ids


async def chain(responses: Responses, principal: Principal, id: str, limit: int = 100) -> str:
    """Returns the letters of a chain, oldest first."""
    found = await responses.chain(principal, id, limit=limit)
    return "".join(r.input[0]["content"][0]["text"] for r in reversed(found))


async def test_a_response_is_stored_and_deleted_by_its_owner_only(
    responses: Responses, alice: Principal, mallory: Principal, database: Database
) -> None:
    body, asked = made(says("assistant", "ho")), [says("user", "hi")]
    await keep(responses, alice, body, asked)
    id = str(body["id"])
    kept = await responses.get(alice, id)
    assert (kept.body, kept.input, kept.items, kept.turns) == (body, asked, [*asked, *body["output"]], 1)
    for call in (
        responses.get(mallory, id),
        responses.delete(mallory, id),
        responses.list_input(mallory, id),
        keep(responses, mallory, made(), [says("user", "x")], previous_id=id),
    ):
        with pytest.raises(NotFound) as error:
            await call
        assert error.value.kind == "response"
    assert await responses.chain(mallory, id, limit=9) == []
    assert await responses.count_turns(mallory, id) == 0
    await responses.delete(alice, id)
    for call in (responses.get(alice, id), responses.delete(alice, id)):
        with pytest.raises(NotFound):
            await call
    assert await rows(database) == 0


async def test_a_chain_is_a_row_each_and_is_read_in_part(
    responses: Responses, alice: Principal, database: Database
) -> None:
    names = "abcdefghij" * 5
    ids = await grow(responses, alice, names)
    assert await rows(database) == 50
    assert await chain(responses, alice, ids[-1]) == names
    assert await chain(responses, alice, ids[-1], 3) == names[-3:]
    assert await chain(responses, alice, ids[4]) == names[:5]
    assert await responses.count_turns(alice, ids[-1]) == 50
    [left] = await grow(responses, alice, "x", ids[1])
    assert await chain(responses, alice, left) == "abx"


@pytest.mark.parametrize(("deleted", "left"), [(0, "bcd"), (1, "acd"), (2, "abd"), (3, "")])
async def test_followers_of_a_deleted_response_remain(
    responses: Responses, alice: Principal, deleted: int, left: str
) -> None:
    ids = await grow(responses, alice, "abcd")
    branch = (await grow(responses, alice, "x", ids[deleted]))[0]
    await responses.delete(alice, ids[deleted])
    assert await chain(responses, alice, ids[3]) == left
    assert await chain(responses, alice, branch) == "abcd"[:deleted] + "x"
    assert await responses.count_turns(alice, ids[3]) == len(left)


async def test_a_response_in_a_conversation_shares_its_items(
    responses: Responses, conversations: Conversations, alice: Principal, mallory: Principal, database: Database
) -> None:
    talk = (await conversations.create(alice, items=[says("user", "before")])).id
    body, asked = made(says("assistant", "ho")), [says("user", "hi")]
    await keep(responses, alice, body, asked, conversation_id=talk)
    kept = await responses.get(alice, str(body["id"]))
    assert (kept.conversation_id, kept.conversation_before) == (talk, 2)
    items = (await conversations.list_items(alice, talk, order="asc")).items
    assert [i.id for i in items[1:]] == [asked[0]["id"], body["output"][0]["id"]]  # type: ignore[index]
    assert "id" not in items[1].body
    assert await responses.count_turns(alice, kept.id) == 2
    [follows] = await grow(responses, alice, "f", kept.id)
    await responses.delete(alice, kept.id)
    assert (await responses.get(alice, follows)).conversation_before == 2
    assert await responses.count_turns(alice, follows) == 2
    await conversations.delete(alice, talk)
    assert await responses.count_turns(alice, follows) == 1
    theirs = (await conversations.create(mallory)).id
    for gone in (talk, theirs):
        with pytest.raises(NotFound) as error:
            await keep(responses, alice, made(), [says("user", "x")], conversation_id=gone)
        assert error.value.kind == "conversation"
    assert await rows(database) == 1
    assert await rows(database, conversation_items) == 0


async def test_input_items_are_paginated(responses: Responses, alice: Principal) -> None:
    asked = [says("user", str(n)) for n in range(45)]
    body = made()
    await keep(responses, alice, body, asked)
    for order in ("asc", "desc"):
        found, after, more = [], None, True
        while more:
            page = await responses.list_input(alice, str(body["id"]), after=after, order=order)
            found, after, more = [*found, *page.items], page.items[-1]["id"], page.has_more
        assert found == (asked if order == "asc" else asked[::-1])
    for bad in ({"limit": 0}, {"limit": 101}, {"after": "msg_none"}):
        with pytest.raises(InvalidValue, match=next(iter(bad))):
            await responses.list_input(alice, str(body["id"]), **bad)


async def test_a_continuation_of_a_deleted_response_is_refused_or_complete(url: str, alice: Principal) -> None:
    """Whoever comes first, what follows a deleted response is refused or goes on with what was before it."""
    async with Database(url) as one, Database(url) as two:
        adds, deletes = Responses(one, Conversations(one)), Responses(two, Conversations(two))
        for _ in range(10):
            root, middle = await grow(adds, alice, "rm")
            results = await asyncio.gather(
                grow(adds, alice, "x", middle),
                grow(adds, alice, "y", middle),
                deletes.delete(alice, middle),
                return_exceptions=True,
            )
            assert results[2] is None
            for result in results[:2]:
                if isinstance(result, list):
                    assert (await adds.get(alice, result[0])).previous_id == root
                else:
                    assert isinstance(result, NotFound)


def test_turns_begin_with_user_or_tool_messages() -> None:
    user, program, assistant = says("user", "u"), says("developer", "d"), says("assistant", "a")
    result = {"type": "function_call_output", "call_id": "c", "output": ""}
    assert split([]) == [[]]
    assert split([user, user, assistant]) == [[], [user, user, assistant]]
    assert split([program, user, assistant, user]) == [[], [program, user, assistant], [user]]
    assert split([result, assistant, user]) == [[result, assistant], [user]]


async def test_responses_items_and_captures_are_stored_atomically(
    responses: Responses, conversations: Conversations, database: Database, alice: Principal
) -> None:
    captures = Captures(database)
    talk = (await conversations.create(alice)).id
    body = made(says("assistant", "ho"))
    new = NewResponse(body, [says("user", "hi")], talk, conversation_id=talk)
    mine = capture(alice, id=body["id"], conversation_id=talk, session_id=talk)
    taken = capture(alice, id=mine.id)
    await captures.record(alice, taken)
    with pytest.raises(VIOLATES):
        await captures.record(alice, mine, response=new)
    assert await rows(database) == await rows(database, conversation_items) == 0
    await captures.delete(alice, taken.id)
    await captures.record(alice, mine, response=new)
    assert (await captures.get(alice, mine.id)).item_id == body["output"][0]["id"]
    assert (await responses.get(alice, mine.id)).session_id == talk
    await responses.delete(alice, mine.id)
    with pytest.raises(NotFound):
        await captures.get(alice, mine.id)
    assert await rows(database, conversation_items) == 2


async def test_a_capture_is_another_tenants_whatever_its_response_was(
    responses: Responses, database: Database, alice: Principal, mallory: Principal
) -> None:
    """Ids are random and never clash; if they did, deleting would stay inside the tenant."""
    body = made()
    await keep(responses, alice, body, [says("user", "hi")])
    await Captures(database).record(mallory, capture(mallory, id=body["id"]))
    await responses.delete(alice, str(body["id"]))
    assert (await Captures(database).get(mallory, str(body["id"]))).tenant == mallory.tenant
