"""A chain of responses is the history that the same items of one conversation are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants.items import paired
from serving.assistants.memory import history
from serving.assistants.memory.history import ChainHistory, ConversationHistory
from serving.assistants.memory.window import MAX_TURN, flat
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.store.conversations import Conversations
from serving.store.relational.database import Database
from serving.store.responses import Responses
from tests.store.captures import keep

ALICE = Principal("acme", "alice", "key")


def says(role, text):
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def called(id):
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}


def result(id):
    return {"type": "function_call_output", "call_id": id, "output": id}


@pytest.fixture
async def stores(tmp_path):
    async with Database(f"sqlite:///{tmp_path / 'h.db'}") as database:
        conversations = Conversations(database)
        yield conversations, Responses(database, conversations)


async def chained(responses, batches, previous=None, conversation=None):
    """Keeps a response for each (input, output) and returns the last id."""
    for asked, answered in batches:
        asked, answered = ([{"id": new_id("item"), **item} for item in items] for items in (asked, answered))
        body = {"id": new_id("resp"), "output": answered}
        await keep(responses, ALICE, body, asked, previous_id=previous, conversation_id=conversation)
        previous, conversation = body["id"], None
    return previous


async def read(history):
    return [turn.messages async for turn in history.turns()]


@pytest.mark.parametrize("kept_in", ["chain", "conversation and chain"])
@pytest.mark.parametrize("page", [1, 2, history.RESPONSES])
async def test_a_chain_has_the_turns_of_a_conversation(stores, monkeypatch, page, kept_in):
    monkeypatch.setattr(history, "RESPONSES", page)
    conversations, responses = stores
    batches = [
        ([says("user", "1")], [says("assistant", "one")]),
        ([says("user", "2"), says("user", "2b")], [called("a"), called("b")]),
        ([result("a"), result("b")], [called("c")]),
        ([result("c")], [says("assistant", "two")]),
        ([says("user", "3"), says("assistant", "3a"), says("user", "4")], [says("assistant", "four")]),
    ]
    talk = await conversations.create(ALICE)
    for asked, answered in batches:
        await conversations.add(ALICE, talk.id, [*asked, *answered])
    expected = await read(ConversationHistory(conversations, ALICE, talk.id))
    assert [m[0]["content"] for m in expected] == ["4", "3", "2", "1"]
    if kept_in == "chain":
        last = await chained(responses, batches)
    else:
        other = await conversations.create(ALICE)
        await chained(responses, batches[:1], conversation=other.id)
        first = await chained(responses, batches[1:3][:1], conversation=other.id)
        last = await chained(responses, batches[2:], previous=first)
    chain = ChainHistory(responses, conversations, ALICE, last)
    assert await read(chain) == expected
    turns = [turn async for turn in chain.turns()]
    for shown in range(5):
        assert await chain.left_out(turns[:shown][::-1]) == 4 - shown
    assert await read(ChainHistory(responses, conversations, Principal("evil", "m", "k"), last)) == []


async def test_a_turn_without_an_end_is_not_read_to_its_end(stores):
    conversations, responses = stores
    endless = [([result("a")], [called("a")]) for _ in range(MAX_TURN // 2 + 1)]
    last = await chained(responses, [([says("user", "old")], [called("a")]), *endless, ([says("user", "new")], [])])
    assert [m[0]["content"] for m in await read(ChainHistory(responses, conversations, ALICE, last))] == ["new"]


async def test_results_of_a_deleted_call_are_not_shown(stores):
    conversations, responses = stores
    first = await chained(responses, [([says("user", "1")], [called("a")])])
    last = await chained(responses, [([result("a")], []), ([says("user", "2")], [])], previous=first)
    await responses.delete(ALICE, first)
    assert [m[0]["content"] for m in await read(ChainHistory(responses, conversations, ALICE, last))] == ["2"]


CALLS = [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in "abc"]
MESSAGES = st.one_of(
    st.just({"role": "user", "content": "x"}),
    st.builds(
        lambda content, calls: {"role": "assistant", "content": content, "tool_calls": calls},
        st.sampled_from(["", "said"]),
        st.lists(st.sampled_from(CALLS), min_size=1, max_size=3, unique_by=lambda call: call["id"]),
    ),
    st.builds(lambda id: {"role": "tool", "tool_call_id": id, "content": "r"}, st.sampled_from("abc")),
)


@given(st.lists(MESSAGES, max_size=12))
def test_calls_and_results_are_paired_as_engines_require(shown):
    kept = paired(shown)
    waiting = set()
    for message in [*kept, {"role": "user"}]:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting
        waiting = {call["id"] for call in message.get("tool_calls", ())}
        assert waiting or message.get("content") or message["role"] == "user"
    assert [m for m in kept if m["role"] == "user"] == [m for m in shown if m["role"] == "user"]
    assert paired(kept) == kept


def test_calls_and_their_results_stay_together():
    shown = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "tool_calls": CALLS[:2]},
        {"role": "tool", "tool_call_id": "b", "content": "r"},
        {"role": "tool", "tool_call_id": "a", "content": "r"},
        {"role": "assistant", "content": "done"},
    ]
    assert paired(shown) == shown
    assert flat([]) == []
