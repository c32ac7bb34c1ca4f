"""SQL queries of a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from types import ModuleType

from pydantic import Field

from serving.assistants.tools import sql_postgresql, sql_sqlite
from serving.assistants.tools.rows import MAX_SQL, Rows
from serving.assistants.tools.tool import MadeTools, Parameters, Tool, ToolError, shorten
from serving.config import SqlTool

log = logging.getLogger("headrace.tools")

MAX_TABLES = 4000
"""Maximum number of characters of the description of tables."""

COLUMNS_S = 5.0
"""Timeout in seconds of listing the columns of tables."""

AGAIN_S = 30.0
"""Seconds before a database that did not list all its tables is asked again."""


class Query(Parameters):
    """Arguments of a query."""

    sql: str = Field(min_length=1, max_length=MAX_SQL, description="one SELECT")


async def make(settings: SqlTool) -> MadeTools:
    """Returns the tool of a catalogue entry; one that does not know all its tables is created again soon."""
    try:
        tables = await columns(settings)
    except ToolError as e:
        log.warning("the tool %s does not know its tables: %s", settings.name, e)
        tables = {}
    else:
        for table in sorted(set(settings.tables) - set(tables)):
            log.warning("the tool %s: its database has no table %s", settings.name, table)
    tool = sql_tool(settings, tables)
    return MadeTools([tool]) if set(tables) == set(settings.tables) else MadeTools([tool], keep_s=AGAIN_S)


async def columns(settings: SqlTool) -> dict[str, list[str]]:
    """Returns the columns of the existing tables. Raises `ToolError`."""
    if not settings.tables:
        return {}
    hurried = settings.model_copy(update={"timeout_s": min(settings.timeout_s, COLUMNS_S)})
    found = await _database(settings).columns(hurried)
    return {table: names for table, names in found.items() if names}


def sql_tool(settings: SqlTool, tables: Mapping[str, Sequence[str]]) -> Tool:
    """Returns the tool, whose description lists `tables` and their columns."""

    async def call(given: Query) -> str:
        if "\0" in given.sql:
            raise ToolError("the query contains an invalid character")
        rows: Rows = await _database(settings).query(settings, given.sql)
        return rows.text

    dialect = "SQLite" if _database(settings) is sql_sqlite else "PostgreSQL"
    told = shorten("; ".join(f"{table}({', '.join(names)})" for table, names in tables.items()), MAX_TABLES)
    description = " ".join(filter(None, (settings.description, f"{dialect}'s SQL, read only.", told)))
    return Tool(settings.name, description, Query, call, untrusted=True, approval=settings.approval)


def _database(settings: SqlTool) -> ModuleType:
    return sql_sqlite if settings.database.startswith("sqlite") else sql_postgresql
