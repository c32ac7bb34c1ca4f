"""Statements by SQLite's driver alone: what SQLAlchemy writes and reads, and no long wait in the event loop."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, func, literal, select

from serving.core.principal import Principal
from serving.store.conversations import Conversations
from serving.store.errors import NotFound
from serving.store.relational.database import Database
from serving.store.relational.encoding import ENGINE
from serving.store.relational.prepared import LENGTH, VIOLATES, Lookups, Prepared
from serving.store.relational.tables import conversation_items, conversations, metadata
from tests.contract.store.test_conversations import says

sqlite_only = pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)

ADD = Prepared(conversation_items.insert())
ALL = Prepared(select(conversation_items).order_by(conversation_items.c.seq))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(SCALARS, lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(), of, max_size=3))


@pytest.fixture
def in_threads(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was queried by a thread."""
    seen: list[object] = []
    query = database.query

    async def noted(work: Callable[..., Any]) -> Any:
        seen.append(work)
        return await query(work)

    monkeypatch.setattr(database, "query", noted)
    return seen


@settings(max_examples=60)
@given(bodies=st.lists(st.dictionaries(st.text(), JSON, max_size=3), min_size=1, max_size=3), at=st.floats(0, 4e9))
def test_prepared_statements_match_sqlalchemy(bodies: list[dict[str, Any]], at: float) -> None:
    items = [
        {
            "conversation_id": "conv_a",
            "seq": n,
            "id": f"msg_{n}",
            "tenant": "ü",
            "turn": n,
            "body": b,
            "created_at": at,
            "checked": "ü" if n % 2 else None,
            "details": b if n % 2 else None,
        }
        for n, b in enumerate(bodies)
    ]
    engine = create_engine("sqlite://", **ENGINE)
    metadata.create_all(engine, [conversations, conversation_items])
    with engine.begin() as connection:
        ADD.execute_many(connection, items)
        found = [tuple(row) for row in ALL.rows(connection, {})]
        assert found == [tuple(row) for row in connection.execute(ALL.statement)]
        connection.execute(conversation_items.delete())
        connection.execute(ADD.statement, items)
        assert found == [tuple(row) for row in ALL.rows(connection, {})]
        with pytest.raises(VIOLATES):
            ADD.execute_many(connection, items[:1])
    engine.dispose()


@sqlite_only
async def test_a_short_query_runs_in_the_event_loop_and_a_long_one_in_a_thread(
    database: Database, conversations: Conversations, alice: Principal, in_threads: list[object]
) -> None:
    made = await conversations.create(alice, items=[says("user", "hi")])
    for _ in range(1000):  # whose steps together are many
        assert (await conversations.newest(alice, made.id)).turns == 1
    with pytest.raises(NotFound):
        await conversations.newest(alice, "conv_none")
    assert not in_threads
    await conversations.add(alice, made.id, [says(role, "") for _ in range(10_000) for role in ("assistant", "user")])
    assert (await conversations.newest(alice, made.id)).turns == 10_001
    assert len(in_threads) == 1
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    endless = Prepared(select(func.max(numbers.union_all(select(numbers.c.n + 1)).c.n)))
    assert database._lookups is not None
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        database._lookups.rows(endless, {})


@sqlite_only
async def test_a_long_row_is_read_in_a_thread(
    database: Database, conversations: Conversations, alice: Principal, in_threads: list[object]
) -> None:
    made = await conversations.create(alice, items=[says("user", "x" * (LENGTH // 2))])
    assert len((await conversations.newest(alice, made.id)).items) == 1
    assert not in_threads
    await conversations.add(alice, made.id, [says("user", "x" * LENGTH)])
    assert len((await conversations.newest(alice, made.id)).items) == 2
    assert len(in_threads) == 1


@sqlite_only
async def test_the_read_only_connection_falls_back(
    database: Database, conversations: Conversations, alice: Principal, in_threads: list[object]
) -> None:
    made = await conversations.create(alice)
    await conversations.newest(alice, made.id)
    assert database._lookups is not None
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        database._lookups.driver.execute("DELETE FROM conversations")
    database._lookups.close()
    assert (await conversations.newest(alice, made.id)).turns == 0
    assert len(in_threads) == 1


@sqlite_only
async def test_queries_do_not_wait_for_writers(
    database: Database, conversations: Conversations, alice: Principal, in_threads: list[object]
) -> None:
    made = await conversations.create(alice, items=[says("user", "hi")])
    with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM conversation_items")
        assert (await conversations.newest(alice, made.id)).turns == 1
        other.execute("COMMIT")
    assert (await conversations.newest(alice, made.id)).turns == 0
    assert not in_threads


@sqlite_only
async def test_a_lookup_makes_no_file(new_url: Callable[[], str]) -> None:
    database = Database(new_url())
    with pytest.raises(sqlite3.OperationalError):
        Lookups(database.url)
    assert not Path(str(database.url.database)).exists()
    await database.close()
