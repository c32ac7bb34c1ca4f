"""Ended jobs go after a while, unfinished ones never; the rest goes when its class says so."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Table

from serving.config import Retention
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background.batches import Batches
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import NotFound
from serving.store.files import Files
from serving.store.jobs.queue import Jobs
from serving.store.relational import tables
from serving.store.relational.database import Database
from serving.store.responses import NewResponse, Responses
from serving.store.upkeep.retention import DAY_S, prune
from tests.store.captures import TURN, capture

ME = Principal(tenant="t", user="u", key_id="k")


async def test_only_old_ended_jobs_are_pruned(jobs: Jobs):
    ended, waiting = await jobs.enqueue(ME, "a", {}), await jobs.enqueue(ME, "b", {})
    await jobs.cancel(ME, ended.id)
    assert await jobs.prune(3600) == 0
    assert await jobs.prune(-1) == 1
    assert [j.id for j in (await jobs.list(ME)).items] == [waiting.id]


async def aged(database: Database, table: Table, by_s: float) -> None:
    @uninterrupted
    async def age() -> None:
        async with database.write() as connection:
            await connection.execute(table.update().values(created_at=table.c.created_at - by_s))

    await age()


async def test_each_class_has_its_days(
    database: Database, captures: Captures, conversations: Conversations, files: Files, add_file, alice: Principal
) -> None:
    responses = Responses(database, conversations)
    quiet, lively = [(await conversations.create(alice, items=TURN)).id for _ in range(2)]
    await captures.record(alice, capture(alice, conversation_id=quiet))
    loose = capture(alice)
    await captures.record(alice, loose)
    response = NewResponse({"id": "resp_1", "output": []}, TURN, "resp_1")
    await captures.record(alice, capture(alice, id="resp_1", session_id="resp_1"), response=response)
    file = await add_file(alice)
    batches = Batches(database, Jobs(database))
    asked: dict[str, Any] = {"caller": {}, "endpoint": "/v1/embeddings", "lasts_s": DAY_S, "metadata": None}
    batch, _ = [await batches.create(alice, input_file_id=file, **asked) for _ in range(2)]
    await batches.finish(batch, "completed", output_file_id=None, error_file_id=None)  # the other one goes on
    for table in (
        tables.batches,
        tables.conversations,
        tables.conversation_items,
        tables.responses,
        tables.captures,
        tables.files,
    ):
        await aged(database, table, 2 * DAY_S)
    await conversations.add(alice, lively, TURN)  # a new item keeps an old conversation
    assert Retention() == Retention(captures=90, audit=400)  # documents and conversations go only where that is said
    assert await prune(Retention(), conversations, responses, captures, files, batches) == {"captures": 0}
    assert await prune(Retention(captures=None), conversations, responses, captures, files, batches) == {}
    kept = Retention(conversations=2.5, captures=2.5, files=2.5)
    assert await prune(kept, conversations, responses, captures, files, batches) == {
        "conversations": 0,
        "responses": 0,
        "captures": 0,
        "files": 0,
        "batches": 0,
    }
    assert await prune(
        Retention(conversations=1.5, captures=None), conversations, responses, captures, files, batches
    ) == {
        "conversations": 1,
        "responses": 1,
    }
    assert [c.id for c in (await captures.list(alice)).items] == [loose.id]
    assert len(await conversations.last(alice, lively)) == 4
    assert await prune(Retention(captures=1.5, files=1.5), conversations, responses, captures, files, batches) == {
        "captures": 1,
        "files": 1,
        "batches": 1,
    }
    with pytest.raises(NotFound):
        await files.get(alice, file)


async def test_pruning_spans_several_transactions(
    database: Database, captures: Captures, conversations: Conversations, alice: Principal, monkeypatch
) -> None:
    monkeypatch.setattr("serving.store.captures.PRUNED_TOGETHER", 3)
    monkeypatch.setattr("serving.store.conversations.PRUNED_TOGETHER", 3)
    for _ in range(7):
        await captures.record(alice, capture(alice))
        await conversations.create(alice)
    assert await captures.prune(-1) == 7
    assert await conversations.prune(-1) == 7


async def test_responses_of_a_session_are_pruned_with_their_captures(
    database: Database, captures: Captures, conversations: Conversations, alice: Principal, monkeypatch
) -> None:
    monkeypatch.setattr("serving.store.responses.PRUNED_TOGETHER", 2)
    responses = Responses(database, conversations)

    async def add(id: str, session: str, previous: str | None = None) -> None:
        new = NewResponse({"id": id, "output": []}, TURN, session, previous)
        await captures.record(alice, capture(alice, id=id, session_id=session), response=new)

    for n in range(5):
        await add(f"resp_old{n}", "resp_old0", f"resp_old{n - 1}" if n else None)
    await add("resp_first", "resp_first")
    await aged(database, tables.responses, 100)
    await add("resp_second", "resp_first", "resp_first")
    assert await responses.prune(200) == 0
    assert await responses.prune(50) == 5
    assert len(await responses.chain(alice, "resp_second", limit=10)) == 2
    assert {one.id for one in (await captures.list(alice)).items} == {"resp_first", "resp_second"}
