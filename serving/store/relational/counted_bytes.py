"""The bytes that a tenant or a user keeps outside of files: ratings, answers of unfinished batches, and queued work."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, LargeBinary, Select, Text, cast, func, select
from sqlalchemy.engine import Connection

from serving.store.relational.tables import ANSWERED, COUNTED, UNFINISHED, batches, feedback, jobs


def bytes_beside_files(connection: Connection, tenant: str, user: str | None = None) -> int:
    """Returns the bytes of a tenant, or of one of its users.

    Answers of a batch count here until they are in its files, and queued work until its end.
    """
    # The conditions are those of partial indexes: each line of a batch asks, however much the tenant has had.
    queries = (
        _sum(batches.c.answer_bytes, tenant, user).where(ANSWERED),
        _sum(feedback.c.bytes, tenant, user),
        _sum(jobs.c.bytes, tenant, user).where(COUNTED),
    )
    return sum(int(connection.execute(query).scalar_one()) for query in queries)


def queued_tokens(connection: Connection, tenant: str, user: str | None = None) -> int:
    """Returns the tokens that the unfinished jobs of a tenant, or of one of its users, may use."""
    query = _sum(jobs.c.tokens, tenant, user).where(UNFINISHED)
    return int(connection.execute(query).scalar_one())


def text_bytes(connection: Connection, column: Column[Any], tenant: str) -> int:
    """Returns the bytes of a column with text or JSON in the rows of a tenant."""
    if connection.dialect.name == "postgresql":
        size = func.octet_length(cast(column, Text))
    else:
        size = func.length(cast(column, LargeBinary))
    query = select(func.coalesce(func.sum(size), 0)).where(column.table.c.tenant == tenant)
    return int(connection.execute(query).scalar_one())


def _sum(column: Column[int], tenant: str, user: str | None) -> Select[Any]:
    of = column.table.c
    query = select(func.coalesce(func.sum(column), 0)).where(of.tenant == tenant)
    return query.where(of.user == user) if user is not None else query
