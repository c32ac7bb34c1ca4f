"""Which statements a store runs, and how SQLite would run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from serving.core.uninterrupted import uninterrupted
from serving.store.relational.database import Database

Statement = tuple[str, Any]
"""A statement in SQL, and its parameters."""


@contextmanager
def statements(database: Database) -> Iterator[list[Statement]]:
    """Yields the list of statements that the block runs."""
    seen: list[Statement] = []

    def note(_connection: object, _cursor: object, sql: str, parameters: object, *_: object) -> None:
        if sql != "BEGIN":  # SQLite's driver would not begin a transaction itself
            seen.append((sql, parameters))

    engine = database._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    yield seen
    event.remove(engine, "before_cursor_execute", note)


@uninterrupted
async def uses_index(database: Database, statement: Statement, index: str) -> None:
    """Checks that SQLite reads rows from an index in their order; PostgreSQL's plan depends on the number of rows."""
    if not database.is_sqlite:
        return
    sql, parameters = statement
    async with database.read() as connection:
        plan = str((await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", parameters)).all())
    assert index in plan, plan
    assert "TEMP B-TREE" not in plan, f"rows are sorted: {plan}"
