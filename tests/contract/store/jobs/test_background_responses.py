"""Background responses in the store."""

from __future__ import annotations

import pytest

from serving.config import Limits
from serving.core.ids import new_id
from serving.core.principal import Principal
from serving.store.background.responses import RESPOND, BackgroundResponses
from serving.store.captures import Captures
from serving.store.conversations import Conversations
from serving.store.errors import LeaseLost, TooMany
from serving.store.jobs.queue import Jobs
from serving.store.relational.database import Database
from serving.store.responses import NewResponse, Responses


async def test_a_response_with_the_character_nul_is_answered_once(
    database: Database, jobs: Jobs, captures: Captures, alice: Principal
) -> None:
    background = BackgroundResponses(database, jobs)
    id = new_id("resp")

    def response(status: str) -> NewResponse:
        body = {"id": id, "status": status, "background": True, "instructions": "a\0b", "output": []}
        return NewResponse(body, [], id, None, None)

    await background.begin(alice, response("queued"), {"request": {"input": "c\0d"}})
    started = await background.start(alice, id)
    assert started is not None
    assert started.body["status"] == "in_progress"
    await captures.record(alice, None, response=response("completed"))
    with pytest.raises(LeaseLost):
        await captures.record(alice, None, response=response("completed"))
    assert await background.start(alice, id) is None
    assert (await background.cancel(alice, id)).body["status"] == "completed"


async def test_an_answer_is_pending_until_its_response_or_its_job_ends(
    database: Database, jobs: Jobs, conversations: Conversations, alice: Principal
) -> None:
    background, stored = BackgroundResponses(database, jobs), Responses(database, conversations)
    ids = [new_id("resp") for _ in range(3)]

    async def pending() -> list[bool]:
        return [await background.is_pending(alice, id) for id in ids]

    for id in ids:
        body = {"id": id, "status": "queued", "background": True, "output": []}
        await background.begin(alice, NewResponse(body, [], id, None, None), {"request": {}})
    assert await pending() == [True, True, True]
    claimed = [await jobs.claim([RESPOND], "gateway", 60) for _ in ids]
    assert await pending() == [True, True, True]
    await background.cancel(alice, ids[0])
    assert await pending() == [False, True, True]
    await stored.delete(alice, ids[1])
    assert await pending() == [False, False, True]
    [last] = [job for job in claimed if job is not None and job.payload["response_id"] == ids[2]]
    await jobs.complete(last)
    assert await pending() == [False, False, False]


def queued() -> NewResponse:
    id = new_id("resp")
    return NewResponse({"id": id, "status": "queued", "background": True, "output": []}, [], id, None, None)


async def test_a_tenant_queues_limited_numbers_and_bytes(database: Database, jobs: Jobs, alice: Principal) -> None:
    background = BackgroundResponses(database, jobs, Limits(background_responses=3, background_bytes=2_000))
    made = [queued() for _ in range(3)]
    for new in made:
        await background.begin(alice, new, {"request": {"input": "hi"}})
    with pytest.raises(TooMany, match="3 background responses"):
        await background.begin(alice, queued(), {"request": {"input": "hi"}})
    other = Principal("other", "u", "k")
    await background.begin(other, queued(), {"request": {"input": "hi"}})
    for new in made:
        await background.cancel(alice, new.body["id"])
    large = {"request": {"input": "\u00e9" * 700}}
    await background.begin(alice, queued(), large)
    with pytest.raises(TooMany, match="2000 bytes"):
        await background.begin(alice, queued(), large)
    await background.begin(other, queued(), large)
