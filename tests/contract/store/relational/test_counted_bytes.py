"""What a tenant stores beside files is summed from partial indexes, however many jobs and batches it has had."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from serving.core.uninterrupted import uninterrupted
from serving.store.relational.counted_bytes import bytes_beside_files
from serving.store.relational.database import Database
from tests.store.statements import Statement, statements

ENDED = 20_000

HISTORY = (
    """INSERT INTO jobs (id, tenant, "user", kind, payload, status, attempts, max_attempts, run_after, done, total,
    message, bytes, created_at) SELECT 'job_' || n, CASE WHEN n <= 10 OR n % 10 = 0 THEN 't' ELSE 'other' || n % 50 END,
    CASE n % 2 WHEN 0 THEN 'u' ELSE 'v' END, 'respond', '{}', CASE WHEN n <= 5000 THEN 'queued' ELSE 'succeeded' END, 0,
    5, 0, 0, 0, '', CASE WHEN n <= 10 OR (n > 5000 AND n % 20 = 0) THEN 7 ELSE 0 END, n FROM numbers""",
    """INSERT INTO batches (id, tenant, "user", caller, endpoint, input_file_id, status, times, total, completed,
    failed, answer_bytes, metadata, created_at, expires_at) SELECT 'batch_' || n, 't', CASE n % 2 WHEN 0 THEN 'u'
    ELSE 'v' END, '{}', '/v1', 'f', 'completed', '{}', 0, 0, 0, CASE WHEN n <= 10 THEN 100 ELSE 0 END, '{}', n, n
    FROM numbers""",
)
"""Of each, ten count for a tenant that has had many."""

NUMBERS = f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {ENDED}) "


@uninterrupted
async def planned(database: Database, statement: Statement) -> str:
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    async with database.read() as connection:
        rows = (await connection.exec_driver_sql(f"{explain} {statement[0]}", statement[1])).all()
    return "\n".join(str(row[-1]) for row in rows)


@uninterrupted
async def summed(database: Database, user: str | None) -> int:
    async with database.read() as connection:
        return await connection.run_sync(bytes_beside_files, "t", user)


@pytest.mark.parametrize(("user", "expected"), [(None, 1_070), ("u", 535)])
@uninterrupted
async def test_sums_read_partial_indexes(database: Database, user: str | None, expected: int) -> None:
    async with database.write() as connection:
        for history in HISTORY:
            await connection.execute(text(NUMBERS + history))
        await connection.execute(text("ANALYZE"))
    with statements(database) as seen:
        assert await summed(database, user) == expected
    for table in ("batches", "jobs"):
        (statement,) = [each for each in seen if f"FROM {table}" in each[0]]
        plan = await planned(database, statement)
        assert {"batches": "ix_batches_answer_bytes", "jobs": "ix_jobs_bytes"}[table] in plan, plan
        assert "Seq Scan" not in plan
