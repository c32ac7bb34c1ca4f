"""Queries of an SQLite file that can do nothing but read.

Sources: SQLite's "Defense Against The Dark Arts" (security.html), sqlite3_set_authorizer, "Limits In SQLite".
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from urllib.parse import quote, unquote, urlsplit

from serving.assistants.tools.rows import MAX_COLUMNS, MAX_SQL, Rows, cell
from serving.assistants.tools.tool import ToolError
from serving.config import SqlTool

_ALLOWED = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE))
_FORBIDDEN = frozenset(("load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"))
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,  # bytes of one value
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 4 * MAX_SQL,
    sqlite3.SQLITE_LIMIT_COLUMN: MAX_COLUMNS,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_VDBE_OP: 50_000,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 0,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_STEPS = 1000
"""Instructions of SQLite's machine between two looks at the clock."""

# Their own threads: others' work does not wait for a slow query.
_THREADS = ThreadPoolExecutor(4, thread_name_prefix="sql-tool")


async def query(settings: SqlTool, sql: str) -> Rows:
    """Returns the first rows of a query. Raises `ToolError`."""
    stop = threading.Event()
    deadline = time.monotonic() + settings.timeout_s
    try:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, _query, settings, sql, deadline, stop)
    finally:
        stop.set()  # also when nobody waits for it any more


async def columns(settings: SqlTool, table: str) -> list[str]:
    """Returns the columns of a table, with their types. Raises `ToolError`."""

    def read() -> list[str]:
        schema, _, name = table.rpartition(".")
        with _open(settings) as connection:
            found = connection.execute(
                "SELECT name, type FROM pragma_table_info(?, ?) LIMIT ?", (name, schema or "main", MAX_COLUMNS)
            )
            return [f"{column} {kind}".strip() for column, kind in found]

    return await asyncio.get_running_loop().run_in_executor(_THREADS, read)


@contextmanager
def _open(settings: SqlTool) -> Iterator[sqlite3.Connection]:
    file = unquote(urlsplit(settings.database).path[1:])
    try:
        opened = sqlite3.connect(
            f"file:{quote(file)}?mode=ro", uri=True, timeout=min(1, settings.timeout_s), isolation_level=None
        )
        with closing(opened) as connection:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            yield connection
    except (sqlite3.Error, sqlite3.Warning, ValueError) as e:
        raise ToolError(str(e)[:300] or "the query failed") from None


def _query(settings: SqlTool, sql: str, deadline: float, stop: threading.Event) -> Rows:
    def over() -> bool:
        return stop.is_set() or time.monotonic() > deadline

    if over():
        raise ToolError("too many queries are waiting")
    with _open(settings) as connection:
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(_authorize)
        connection.set_progress_handler(over, _STEPS)
        try:
            cursor = connection.execute(sql)
            if cursor.description is None:
                raise ToolError("this is no query")
            rows = [[cell(value) for value in row] for _, row in zip(range(settings.max_rows), cursor, strict=False)]
            more = len(rows) == settings.max_rows and cursor.fetchone() is not None
        except sqlite3.OperationalError:
            if over():
                raise ToolError(f"the query took longer than {settings.timeout_s:g} s") from None
            raise
        return Rows([name for name, *_ in cursor.description], rows, more)


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
