"""Every kind of memory before a real llama.cpp: whatever is remembered, the prompt leaves the answer its room."""

from __future__ import annotations

import base64
from contextlib import aclosing

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.assistants.memory import facts, summary
from serving.assistants.memory.helper_model import HelperModel
from serving.assistants.memory.retriever import MemoryRetriever, PlannedPrompt
from serving.assistants.memory.window import flat, newest_turns
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
from serving.engines.client import EngineClient
from serving.engines.token_counter import TokenCounter
from serving.retrieval.client import RetrievalClient
from serving.store.conversations import Conversations
from serving.store.memories import Memories
from serving.store.relational.database import Database
from serving.store.summaries import Summaries
from serving.store.turn_vectors import TurnVectors
from tests.contract.api.test_tokens import CONTEXT, TEXTS, llama  # noqa: F401
from tests.contract.running import Loop

ME = Principal("acme", "alice", "k")
BUDGET = st.integers(1, CONTEXT)
KINDS = st.one_of(
    st.just(NoMemory()),
    st.builds(BufferMemory, turns=st.integers(1, 20)),
    st.builds(TokenWindowMemory, tokens=BUDGET),
    st.just(SummaryMemory()),
    st.builds(SummaryWindowMemory, tokens=BUDGET),
    st.builds(FactsMemory, turns=st.integers(0, 20), tokens=BUDGET),
    st.builds(VectorMemory, turns=st.integers(0, 5), tokens=BUDGET, top_k=st.integers(1, 20), min_score=st.just(-1.0)),
)
LONG = ("word " * 40, "word " * 10)
SAID = st.text(max_size=30) | TEXTS | st.integers(1, 60).map(lambda n: "word " * n)


class Handle:
    """A retrieval deployment to which all texts are alike."""

    def __init__(self):
        self.call = self

    async def remote(self, method, texts):
        return np.eye(384, dtype=np.float32)[: len(texts)], 0


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    loop = Loop()
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('budget')}/h.db")
    loop.do(database.start())
    yield loop, database
    loop.do(database.close())
    loop.stop()


@settings(max_examples=40)
@given(KINDS, st.lists(st.tuples(SAID, SAID), max_size=12), SAID, SAID, st.lists(SAID, max_size=8), st.integers(1, 400))
# Each part fits by itself, and all together do not.
@example(VectorMemory(turns=3, tokens=CONTEXT, top_k=20, min_score=-1), [LONG] * 8, "and?", "", [], 16)
@example(SummaryMemory(), [LONG] * 12, "and?", "word " * 250, [], 16)
@example(FactsMemory(turns=20, tokens=CONTEXT), [LONG] * 6, "and?", "", [f"{n} {'fact ' * 80}" for n in range(4)], 16)
def test_no_kind_exceeds_the_window(llama, stores, kind, turns, question, told, known, answer):  # noqa: F811
    loop, database = stores
    loop.do(recalled(llama, database, kind, turns, question, told, known, answer))


async def recalled(endpoint, database, kind, turns, question, told, known, answer):
    conversations, summaries = Conversations(database), Summaries(database)
    memories, vectors = Memories(database), TurnVectors(database)
    recaller = MemoryRetriever(conversations, summaries, memories, vectors, RetrievalClient(Handle()))
    made = await conversations.create(ME)
    for asked, said in turns:
        texts = (("user", "input_text", asked), ("assistant", "output_text", said))
        items = [{"type": "message", "role": r, "content": [{"type": t, "text": x}]} for r, t, x in texts]
        await conversations.add(ME, made.id, items)
    items = await conversations.following(ME, made.id, limit=100)
    if len(items) > 2:
        await summaries.put(ME, None, items[: len(items) // 4 * 2], told)
    assistant = made.id  # a profile of its own
    for fact in known:
        if text := " ".join(fact.replace("\0", "").split()):
            await memories.add(ME, assistant, text)
    waiting = await vectors.waiting(ME, made.id, "all-minilm-l6-v2", keep=100, limit=100)
    packed = base64.b64encode(np.eye(384, dtype="<f2")[0].tobytes()).decode()
    await vectors.put(ME, made.id, assistant, "all-minilm-l6-v2", dict.fromkeys(waiting, packed), keep=100)
    client = EngineClient()
    try:
        tokens = TokenCounter(client, endpoint)
        before, after = [{"role": "system", "content": "Be brief."}], [{"role": "user", "content": question}]
        room = CONTEXT - answer
        prompt = PlannedPrompt(before, after, room, tokens.fit, question)
        async with aclosing(newest_turns(conversations, ME, made.id)) as newest:
            found = await recaller.recall(ME, made.id, assistant, kind, newest, prompt)
        shown = [*before, *found.notes, *flat(found.turns), *after]
        alone = not found.notes and not found.turns  # what the caller asks with is the caller's
        assert alone or (await tokens.count(shown) or tokens.bound(shown)) <= room
        assert len(found.turns) + found.covered <= len(turns)
        return found
    finally:
        await client.close()


def test_the_budget_is_used(llama, stores):  # noqa: F811
    """With room for everything, everything is shown: the property above does not hold for want of memory."""
    loop, database = stores
    said = [(f"question {n}", f"answer {n}") for n in range(4)]

    for kind, counts, shown in (
        (SummaryMemory(), {"summarized": 2}, 2),
        (FactsMemory(), {"facts": 1}, 4),
        (VectorMemory(turns=1, min_score=-1), {"recalled": 3}, 1),
    ):
        found = loop.do(recalled(llama, database, kind, said, "and now?", "they talked", ["likes tea"], 16))
        assert (found.counts, len(found.turns)) == (counts, shown)


async def test_a_real_model_lists_facts_and_writes_a_summary(llama):  # noqa: F811
    client = EngineClient()
    model = HelperModel(client, llama, TokenCounter(client, llama), CONTEXT, "a", "a", "acme")
    lines = ["User: I live in Bern and my dog is called Rex.", "Assistant: Bern is nice."]
    try:
        assert facts.parse(await model.ask(facts.request([], lines), 250, facts.SCHEMA), 500) is not None
        assert await model.ask(summary.request("", lines, 40), 40)
    finally:
        await client.close()
