"""Queries that a model makes of a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType

from pydantic import Field

from serving.assistants.tools import sql_postgresql, sql_sqlite
from serving.assistants.tools.rows import MAX_SQL, Rows
from serving.assistants.tools.tool import Parameters, Tool, ToolError, shorten
from serving.config import SqlTool

MAX_TABLES = 4000
"""Characters of what a model is told of tables."""

COLUMNS_S = 5.0
"""Seconds within which a database says what columns its tables have."""


class Query(Parameters):
    """What a database is asked."""

    sql: str = Field(min_length=1, max_length=MAX_SQL, description="one SELECT")


async def columns(settings: SqlTool) -> dict[str, list[str]]:
    """Returns the columns of those of its tables that are there, within seconds. Raises `ToolError`."""
    if not settings.tables:
        return {}
    hurried = settings.model_copy(update={"timeout_s": min(settings.timeout_s, COLUMNS_S)})
    found = await _database(settings).columns(hurried)
    return {table: names for table, names in found.items() if names}


def sql_tool(settings: SqlTool, tables: Mapping[str, Sequence[str]]) -> Tool:
    """Returns the tool, which tells the model of `tables` and their columns."""

    async def call(given: Query) -> str:
        if "\0" in given.sql:
            raise ToolError("the query holds a character that is none")
        rows: Rows = await _database(settings).query(settings, given.sql)
        return rows.text

    dialect = "SQLite" if _database(settings) is sql_sqlite else "PostgreSQL"
    told = shorten("; ".join(f"{table}({', '.join(names)})" for table, names in tables.items()), MAX_TABLES)
    description = " ".join(filter(None, (settings.description, f"{dialect}'s SQL, read only.", told)))
    return Tool(settings.name, description, Query, call, untrusted=True, approval=settings.approval)


def _database(settings: SqlTool) -> ModuleType:
    return sql_sqlite if settings.database.startswith("sqlite") else sql_postgresql
