"""Read-only queries of a PostgreSQL database.

A query runs as a cursor: by PostgreSQL's own grammar, `DECLARE` takes one SELECT or VALUES and nothing else, in a
read-only transaction that is never committed. What its role may read is determined by the database's grants.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import LiteralString

import psycopg
from psycopg import AsyncConnection

from serving.assistants.tools.rows import MAX_CELL, MAX_COLUMNS, Rows, cell
from serving.assistants.tools.tool import ToolError
from serving.config import SqlTool

_BYTEA = 17
_FETCHED = 20
"""Rows per fetch."""

_DANGEROUS: LiteralString = """
SELECT r.rolname FROM pg_roles r
WHERE pg_has_role(current_user, r.oid, 'MEMBER') AND (
    r.rolsuper OR r.rolreplication OR r.rolcreaterole
    OR r.rolname IN ('pg_write_server_files', 'pg_read_server_files', 'pg_execute_server_program')
) LIMIT 1
"""
_OWN: LiteralString = """
SELECT count(DISTINCT relname) = 2 FROM pg_class WHERE relname IN ('memories', 'turn_vectors') AND relkind IN ('r', 'p')
"""
_COLUMNS: LiteralString = """
SELECT attname || ' ' || format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum LIMIT %s
"""


async def query(settings: SqlTool, sql: str) -> Rows:
    """Returns the first rows of a query. Raises `ToolError`."""
    async with _open(settings) as connection:
        # First by itself, which ensures that it is one complete query and cannot change the meaning of the text around
        # it below.
        async with connection.cursor("given") as given:
            await given.execute(sql.encode())
            found = given.description or []
        if not 0 < len(found) <= MAX_COLUMNS:
            raise ToolError(f"a result has 1 to {MAX_COLUMNS} columns")
        async with connection.cursor("bounded") as bounded:
            await bounded.execute(_bounded(sql, [column.type_code for column in found]).encode())
            rows: list[tuple[object, ...]] = []
            while len(rows) <= settings.max_rows and (more := await bounded.fetchmany(_FETCHED)):
                rows += more
    shown = [[cell(value) for value in row] for row in rows[: settings.max_rows]]
    return Rows([column.name for column in found], shown, len(rows) > settings.max_rows)


async def columns(settings: SqlTool) -> dict[str, list[str]]:
    """Returns the columns of its tables, with their types. Raises `ToolError`."""
    found = {}
    async with _open(settings) as connection:
        for table in settings.tables:
            listed = await connection.execute(_COLUMNS, (table, MAX_COLUMNS))
            found[table] = [str(column) for (column,) in await listed.fetchall()]
    return found


@asynccontextmanager
async def _open(settings: SqlTool) -> AsyncIterator[AsyncConnection]:
    limit = max(1, round(settings.timeout_s * 1000))
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    options = " ".join(["-c default_transaction_read_only=on", *(f"-c {name}={limit}" for name in names)])
    try:
        async with asyncio.timeout(settings.timeout_s):
            password = await asyncio.to_thread(settings.password.read) if settings.password is not None else None
            connection = await AsyncConnection.connect(
                settings.database, password=password, passfile="/dev/null", options=options, application_name="headrace"
            )
            try:
                dangerous = await (await connection.execute(_DANGEROUS)).fetchone()
                if dangerous is not None:
                    raise ToolError(
                        f"the database's user has the rights of {dangerous[0]}, which reading does not need"
                    )
                if await (await connection.execute(_OWN)).fetchone() == (True,):
                    raise ToolError("this is the stack's own database, which tools must not read")
                yield connection
            finally:
                await connection.close()  # without a commit
    except (TimeoutError, psycopg.errors.QueryCanceled):
        raise ToolError(f"the query took longer than {settings.timeout_s:g} s") from None
    except LookupError:
        raise ToolError("the password of this tool cannot be read") from None
    except psycopg.Error as e:
        raise ToolError((e.diag.message_primary or "the database cannot be reached")[:300]) from None
    except ValueError:
        raise ToolError("the query contains an invalid character") from None


def _bounded(sql: str, types: list[int]) -> str:
    """Returns a query around `sql` whose values are short texts: the server truncates them."""
    names = [f"c{i}" for i in range(len(types))]
    values = [
        f"'(' || octet_length({name}) || ' bytes)'" if kind == _BYTEA else f"left({name}::text, {MAX_CELL + 1})"
        for name, kind in zip(names, types, strict=True)
    ]
    inner = sql.rstrip().rstrip(";")
    return f"SELECT {', '.join(values)} FROM (\n{inner}\n) AS given({', '.join(names)})"  # noqa: S608 (that is the tool)
