"""The plan of a prompt: whatever the history and the budget, the window holds it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants.memory.window import ANSWER, UNKNOWN_ROOM, Turn, flat, newest_turns, recall, room, since
from serving.config import (
    BufferMemory,
    FactsMemory,
    NoMemory,
    SummaryMemory,
    SummaryWindowMemory,
    TokenWindowMemory,
    VectorMemory,
)
from serving.core.principal import Principal
from serving.store.conversations import Conversations
from serving.store.relational.database import Database

KINDS = st.one_of(
    st.just(NoMemory()),
    st.builds(BufferMemory, turns=st.integers(1, 30)),
    st.builds(TokenWindowMemory, tokens=st.integers(1, 2000)),
    st.just(SummaryMemory()),
    st.builds(FactsMemory, turns=st.integers(0, 30)),
    st.builds(VectorMemory, turns=st.integers(0, 30)),
    st.builds(SummaryWindowMemory, tokens=st.integers(1, 2000)),
)
NEWEST = (BufferMemory, FactsMemory, VectorMemory)
COSTS = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=4), max_size=60)


def message(cost, name):
    return {"role": "user", "content": name, "cost": cost}


def cost(messages):
    return sum(m["cost"] for m in messages)


def history(costs):
    """Turns, oldest first, whose messages cost what is said."""
    return [Turn([message(c, f"{t}.{m}") for m, c in enumerate(turn)], t) for t, turn in enumerate(costs)]


def planned(memory, turns, before, after, space, overhead=0):
    asked = []

    async def fits(messages, limit):
        asked.append(len(messages))
        return cost(messages) + overhead <= limit

    async def newest_first():
        for turn in reversed(turns):
            yield turn

    kept = asyncio.run(recall(memory, newest_first(), before=before, after=after, room=space, fits=fits))
    return kept, asked


@given(KINDS, COSTS, st.integers(0, 300), st.integers(0, 300), st.integers(0, 4000), st.integers(0, 40))
def test_the_window_is_never_exceeded_turns_stay_whole_and_the_newest_win(memory, costs, head, tail, space, overhead):
    turns = history(costs)
    before, after = [message(head, "system")], [message(tail, "request")]
    kept, _ = planned(memory, turns, before, after, space, overhead)
    prompt = cost([*before, *flat(kept), *after]) + overhead
    assert prompt <= space or not kept
    assert kept == turns[len(turns) - len(kept) :]  # whole, in order, the newest without a gap
    if isinstance(memory, NoMemory):
        assert kept == []
        return
    if isinstance(memory, NEWEST):
        assert len(kept) <= memory.turns
    elif isinstance(memory, TokenWindowMemory) and kept:
        assert cost(flat(kept)) + overhead <= memory.tokens
    # And no turn more would have fitted.
    left = turns[: len(turns) - len(kept)]
    if left:
        more = [left[-1], *kept]
        full = isinstance(memory, NEWEST) and len(more) > memory.turns
        full |= isinstance(memory, TokenWindowMemory) and cost(flat(more)) + overhead > memory.tokens
        assert full or cost([*before, *flat(more), *after]) + overhead > space


@given(st.sampled_from([SummaryMemory(), SummaryWindowMemory(tokens=1)]), st.integers(1, 3000))
def test_unsummarised_turns_are_bounded_without_a_context_size(memory, each):
    kept, _ = planned(memory, history([[each]] * 100), [], [], None)
    assert len(kept) == min(UNKNOWN_ROOM // each, 100)


@given(COSTS, st.integers(-1, 70))
def test_turns_since_an_item_begin_after_it(costs, seq):
    turns = history(costs)

    async def newest_first():
        for turn in reversed(turns):
            yield turn

    async def read():
        return [turn async for turn in since(newest_first(), seq)]

    assert asyncio.run(read()) == [turn for turn in reversed(turns) if turn.seq > seq]


@given(st.lists(st.integers(1, 100), min_size=1, max_size=40), st.integers(0, 2000), st.randoms())
def test_no_way_of_counting_makes_the_prompt_too_long(costs, space, random):
    """Merges of a tokenizer can make a longer text the one with fewer tokens."""
    turns, counts = history([[c] for c in costs]), {}

    async def fits(messages, limit):
        return counts.setdefault(len(messages), random.randrange(3000)) <= limit

    async def newest_first():
        for turn in reversed(turns):
            yield turn

    kept = asyncio.run(recall(BufferMemory(turns=40), newest_first(), before=[], after=[], room=space, fits=fits))
    assert not kept or counts[len(kept)] <= space


def test_counts_and_reading_are_few():
    read = 0

    async def newest_first():
        nonlocal read
        for turn in reversed(history([[10]] * 1000)):
            read += 1
            yield turn

    asked = 0

    async def fits(messages, limit):
        nonlocal asked
        asked += 1
        return cost(messages) <= limit

    memory = TokenWindowMemory(tokens=1000)
    kept = asyncio.run(recall(memory, newest_first(), before=[], after=[], room=None, fits=fits))
    assert len(kept) == 100
    assert read <= 128
    assert asked <= 16


@pytest.mark.parametrize(
    ("context", "max_tokens", "expected"),
    [(None, 10, None), (2048, 100, 1948), (2048, None, 2048 - ANSWER), (1000, None, 750), (100, 500, 0)],
)
def test_the_memory_budget_excludes_the_tokens_of_the_answer(context, max_tokens, expected):
    assert room(context, max_tokens) == expected


def says(role, text):
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


async def test_turns_are_read_whole_and_only_as_far_as_needed(tmp_path):
    alice = Principal(tenant="acme", user="alice", key_id="key_a")
    async with Database(f"sqlite:///{tmp_path}/h.db") as database:
        store = Conversations(database)
        made = await store.create(alice, items=[says("system", "s")])
        for n in range(100):
            await store.add(alice, made.id, [says(role, f"{role} {n}") for role in ("user", "assistant", "assistant")])
        found = [turn async for turn in newest_turns(store, alice, made.id)]
        assert [t.messages[0]["content"] for t in found] == [*(f"user {n}" for n in range(99, -1, -1)), "s"]
        assert [len(t.messages) for t in found] == [3] * 100 + [1]
        assert [t.seq for t in found[:2]] == [299, 296]
        assert [t async for t in newest_turns(store, Principal("evil", "m", "k"), made.id)] == []
        endless = await store.create(alice, items=[says("user", "u"), *[says("assistant", "x")] * 2000])
        await store.add(alice, endless.id, [says("user", "new")])
        assert [t.messages[0]["content"] async for t in newest_turns(store, alice, endless.id)] == ["new"]
