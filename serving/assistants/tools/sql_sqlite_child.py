"""The child that reads an SQLite file: `python -SBP -m serving.assistants.tools.sql_sqlite_child`.

It opens the file and starts to read, and then drops everything else: no statement of a model is parsed before
`serving.core.confine` has left it only its pipes and open files. SQLite sorts in memory, which is limited. Sources:
SQLite's "Defense Against The Dark Arts" (security.html), sqlite3_set_authorizer, "Limits In SQLite".
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from typing import Any
from urllib.parse import quote

from serving.assistants.tools.rows import MAX_COLUMNS, MAX_SHOWN, MAX_SQL, Cell, cell
from serving.core.confine import ProcessLimits, Unconfined, confine

_MEMORY = 300_000_000
"""Address space in bytes, of which the interpreter needs a tenth."""

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


class _QueryRefused(Exception):
    """The query is rejected. The message is for the model."""


def _open(file: str, seconds: float) -> sqlite3.Connection:
    """Opens a file and starts to read it, so that everything that SQLite needs is open."""
    connection = sqlite3.connect(f"file:{quote(file)}?mode=ro", uri=True, timeout=min(1, seconds), isolation_level=None)
    for setting in ("query_only = ON", "trusted_schema = OFF", "temp_store = MEMORY"):
        connection.execute(f"PRAGMA {setting}")
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    connection.execute("BEGIN")
    own = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('memories', 'turn_vectors')"
    if connection.execute(own).fetchone() == (2,):
        raise _QueryRefused("this is the stack's own database, which tools must not read")
    return connection


def _query(connection: sqlite3.Connection, sql: str, max_rows: int) -> dict[str, Any]:
    """Returns the first rows, at most as many as can be shown."""
    for limit, value in _LIMITS.items():
        connection.setlimit(limit, value)
    connection.set_authorizer(_authorize)
    cursor = connection.execute(sql)
    if cursor.description is None:
        raise _QueryRefused("this is not a query")
    rows: list[list[Cell]] = []
    size = 0
    for row in cursor:
        if len(rows) == max_rows or size > MAX_SHOWN:
            return {"columns": [name for name, *_ in cursor.description], "rows": rows, "more": True}
        rows.append([cell(value) for value in row])
        size += sum(len(str(value)) for value in rows[-1])
    return {"columns": [name for name, *_ in cursor.description], "rows": rows, "more": False}


def _columns(connection: sqlite3.Connection, tables: list[str]) -> dict[str, Any]:
    """Returns the columns of tables, with their types."""
    found = {}
    for table in tables:
        schema, _, name = table.rpartition(".")
        listed = connection.execute(
            "SELECT name, type FROM pragma_table_info(?, ?) LIMIT ?", (name, schema or "main", MAX_COLUMNS)
        )
        found[table] = [f"{column[:100]} {kind[:100]}".strip() for column, kind in listed]
    return {"tables": found}


def _authorize(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FORBIDDEN):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def _answer(question: dict[str, Any]) -> dict[str, Any]:
    try:
        with closing(_open(question["file"], question["seconds"])) as connection:
            confine(ProcessLimits(_MEMORY, int(question["seconds"]) + 2), ())
            if "sql" in question:
                return _query(connection, question["sql"], question["max_rows"])
            return _columns(connection, question["tables"])
    except _QueryRefused as e:
        return {"error": str(e)}
    except Unconfined:
        return {"error": "databases cannot be read here"}
    except MemoryError:
        return {"error": "the query needs too much memory"}
    except (sqlite3.Error, sqlite3.Warning, ValueError) as e:
        return {"error": str(e)[:300] or "the query failed"}


if __name__ == "__main__":
    json.dump(_answer(json.load(sys.stdin)), sys.stdout)
