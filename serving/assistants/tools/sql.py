"""Queries that a model makes of a database."""

from __future__ import annotations

from pydantic import Field

from serving.assistants.tools import sql_postgresql, sql_sqlite
from serving.assistants.tools.rows import MAX_SQL
from serving.assistants.tools.tool import Parameters, Tool, ToolError, shorten
from serving.config import SqlTool

MAX_TABLES = 4000
"""Characters of what a model is told of tables."""


class Query(Parameters):
    """What a database is asked."""

    sql: str = Field(min_length=1, max_length=MAX_SQL, description="one SELECT")


async def sql_tool(settings: SqlTool) -> Tool:
    """Returns the tool, which tells the model of its tables. Raises `ToolError` when the database does not."""
    if settings.database.startswith("sqlite"):
        dialect, query, columns = "SQLite", sql_sqlite.query, sql_sqlite.columns
    else:
        dialect, query, columns = "PostgreSQL", sql_postgresql.query, sql_postgresql.columns

    async def call(given: Query) -> str:
        if "\0" in given.sql:
            raise ToolError("the query holds a character that is none")
        return (await query(settings, given.sql)).text

    described = [f"{table}({', '.join(await columns(settings, table))})" for table in settings.tables]
    tables = shorten("; ".join(described), MAX_TABLES)
    description = " ".join(filter(None, (settings.description, f"{dialect}'s SQL, read only.", tables)))
    return Tool(settings.name, description, Query, call, untrusted=True, approval=settings.approval)
