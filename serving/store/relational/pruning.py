"""Rows that are over, removed a few at a time."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, select

from serving.store.relational.database import Database


async def prune_rows(database: Database, table: Table, old: ColumnElement[bool], *, together: int) -> int:
    """Deletes the rows of `table` that are `old`, and returns how many.

    One transaction deletes at most `together`, so that others need not wait long to write.
    """
    some = select(table.c.id).where(old).limit(together)
    removed = 0
    while True:
        async with database.write() as connection:
            found = (await connection.execute(table.delete().where(table.c.id.in_(some), old))).rowcount
        removed += found
        if found < together:
            return removed
