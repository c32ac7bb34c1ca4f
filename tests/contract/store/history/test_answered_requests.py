"""What operators are told of answered requests, by both databases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.captures import Captures
from serving.store.errors import NotFound
from serving.store.history.answered_requests import MOST, AnsweredRequests
from serving.store.relational import tables
from serving.store.relational.database import Database
from tests.store.captures import capture
from tests.store.statements import statements

ALWAYS = {"start": 0.0, "end": 1e11}


@pytest.fixture
def requests(database: Database) -> AnsweredRequests:
    return AnsweredRequests(database)


@pytest.fixture
def operator(alice: Principal) -> Principal:
    return replace(alice, user="olga", role="operator", scopes=frozenset(("operate",)))


@pytest.mark.parametrize(
    ("request_", "stream"),
    [({"model": "m"}, False), ({"model": "m", "stream": True}, True), ({"model": "m", "stream": False}, False)],
)
async def test_a_request_has_its_figures(
    requests: AnsweredRequests,
    captures: Captures,
    alice: Principal,
    operator: Principal,
    request_: dict[str, object],
    stream: bool,
) -> None:
    fields: dict[str, Any] = {"cost": 0.0001146, "currency": "EUR", "timings": {"queue": 0.25, "decode": 0.5}}
    more: dict[str, Any] = {
        "steps": [{"kind": "think"}] * 3,
        "chunks": [{"file_id": "file_1"}] * 2,
        "request": request_,
    }
    await captures.record(alice, capture(alice, id="chatcmpl-1", request_id="req", **fields, **more))
    [one] = (await requests.find(operator, "chatcmpl-1", **ALWAYS)).items
    assert [one] == (await requests.find(operator, "req", **ALWAYS)).items
    assert (one.id, one.request_id, one.requested, one.alias, one.model) == ("chatcmpl-1", "req", "m", "m", "m")
    assert (one.steps, one.passages, one.stream, one.finish_reason) == (3, 2, stream, "stop")
    assert {name: getattr(one, name) for name in fields} == fields
    assert (one.prompt_tokens, one.completion_tokens, one.outcome) == (3, None, "completed")


async def test_what_was_not_stored_is_unknown(
    requests: AnsweredRequests, captures: Captures, alice: Principal, operator: Principal
) -> None:
    await captures.record(alice, capture(alice, id="chatcmpl-1", request={}, prompt={}, answer=[]))
    [one] = (await requests.find(operator, "chatcmpl-1", **ALWAYS)).items
    assert (one.stream, one.finish_reason, one.steps, one.passages) == (None, None, 0, 0)


async def test_requests_of_other_tenants_are_not_found(
    requests: AnsweredRequests, captures: Captures, alice: Principal, mallory: Principal, operator: Principal
) -> None:
    await captures.record(mallory, capture(mallory, id="chatcmpl-evil", request_id="req"))
    for id in ("chatcmpl-evil", "req", "none", "", "a\0b"):
        with pytest.raises(NotFound):
            await requests.find(operator, id, **ALWAYS)
    await captures.record(alice, capture(alice, id="chatcmpl-own", request_id="req"))
    assert [one.id for one in (await requests.find(operator, "req", **ALWAYS)).items] == ["chatcmpl-own"]


async def test_the_character_nul_in_a_text_hides_no_request(
    requests: AnsweredRequests, captures: Captures, alice: Principal, operator: Principal
) -> None:
    messages = [{"role": "user", "content": "a\0b"}]
    answer = {"index": 0, "message": {"role": "assistant", "content": "c\0d"}, "finish_reason": "length"}
    texts: dict[str, Any] = {"request": {"model": "m", "messages": messages, "stream": True}, "answer": [answer]}
    await captures.record(alice, capture(alice, id="chatcmpl-1", request_id="req", **texts))
    for id in ("chatcmpl-1", "req"):
        [one] = (await requests.find(operator, id, **ALWAYS)).items
        assert (one.stream, one.finish_reason) == (True, "length")


async def test_the_newest_of_many_are_found_within_the_time(
    requests: AnsweredRequests, captures: Captures, alice: Principal, operator: Principal
) -> None:
    for n in range(MOST + 2):
        await captures.record(alice, capture(alice, id=f"chatcmpl-{n}", request_id="req", created_at=float(n)))
    found = await requests.find(operator, "req", **ALWAYS)
    assert [one.created_at for one in found.items] == [float(n) for n in range(MOST + 1, 1, -1)]
    assert found.has_more
    found = await requests.find(operator, "req", start=2, end=2 + MOST)
    assert (len(found.items), found.has_more) == (MOST, False)
    found = await requests.find(operator, "req", start=3, end=5)
    assert [one.created_at for one in found.items] == [4.0, 3.0]
    with pytest.raises(NotFound):
        await requests.find(operator, "req", start=100, end=200)


async def test_all_time_is_searched_unless_it_is_bounded(
    requests: AnsweredRequests, captures: Captures, alice: Principal, operator: Principal
) -> None:
    await captures.record(alice, capture(alice, id="chatcmpl-1", request_id="req", created_at=5.0))
    assert [one.created_at for one in (await requests.find(operator, "req")).items] == [5.0]
    for bounds in ({"start": 5.5}, {"end": 5.0}):
        with pytest.raises(NotFound):
            await requests.find(operator, "req", **bounds)


@uninterrupted
async def test_a_search_reads_the_captures_of_the_request_alone(
    database: Database, requests: AnsweredRequests, captures: Captures, alice: Principal, operator: Principal
) -> None:
    one = capture(alice, id="chatcmpl-1", request_id="req")
    await captures.record(alice, one)
    await _fill(database, 2000)
    with statements(database) as seen:
        await requests.find(operator, "chatcmpl-1")
    assert len(seen) == 1, seen
    with statements(database) as seen:
        await requests.find(operator, "req")
    assert len(seen) == 2, seen
    sql, parameters = seen[1]
    plan = await _plan(database, sql, parameters)
    if database.is_sqlite:
        assert "captures USING INDEX ix_captures_request_id (tenant=? AND request_id=?)" in plan, plan
        assert "SCAN captures" not in plan, plan
    else:
        assert "ix_captures_request_id" in plan, plan
        assert "Seq Scan on captures" not in plan, plan


async def _fill(database: Database, number: int) -> None:
    """Copies the capture that is stored, with other ids, so that PostgreSQL would rather not read them all."""
    names = [column.name for column in tables.captures.columns]
    own = {"id": "'chatcmpl-of-' || n", "request_id": "'req-of-' || n"}
    series = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :number)"
    into = ", ".join(f'"{name}"' for name in names)
    chosen = ", ".join(own.get(name, f'captures."{name}"') for name in names)
    query = f"{series} INSERT INTO captures ({into}) SELECT {chosen} FROM captures, numbers"
    async with database.write() as connection:
        await connection.execute(text(query), {"number": number})
        await connection.execute(text("ANALYZE captures"))


async def _plan(database: Database, sql: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    async with database.read() as connection:
        rows = (await connection.exec_driver_sql(f"{explain} {sql}", parameters)).all()
    return "\n".join(str(row[-1]) for row in rows)
