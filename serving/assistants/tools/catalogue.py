"""The tools of a catalogue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from serving.assistants.tools.http import http_tool
from serving.assistants.tools.mcp import McpServers
from serving.assistants.tools.sql import sql_tool
from serving.assistants.tools.tool import Tool, ToolError
from serving.config import TOOLS, CatalogTool, HttpTool, McpTool, SqlTool

log = logging.getLogger("headrace.tools")


class CatalogTools:
    """Makes tools when they are first asked for: to tell of its tables a database must be there."""

    def __init__(self, servers: McpServers, tools: Sequence[CatalogTool] = ()) -> None:
        self._servers = servers
        self._settings = {tool.name: tool for tool in tools}
        self._made: dict[str, Tool] = {}

    async def get(self, names: Sequence[str]) -> list[Tool]:
        """Returns those of `names` that are not built in; an MCP server's name stands for all that it has."""
        found = await asyncio.gather(*(self._of(self._settings[name]) for name in names if name not in TOOLS))
        return [tool for tools in found for tool in tools]

    def told_by_others(self, names: Sequence[str]) -> bool:
        """Whether others wrote what a model is told of these tools, before it calls one."""
        return any(isinstance(self._settings.get(name), McpTool) for name in names)

    async def _of(self, settings: CatalogTool) -> Sequence[Tool]:
        if isinstance(settings, McpTool):
            return await self._servers.tools(settings)
        return [self._made.get(settings.name) or await self._make(settings)]

    async def _make(self, settings: HttpTool | SqlTool) -> Tool:
        if isinstance(settings, HttpTool):
            tool = http_tool(settings)
        else:
            try:
                tool = await sql_tool(settings)
            except ToolError as e:
                # It is made again for the next turn. In this one the model does not know the tables.
                log.warning("the tool %s does not know its tables: %s", settings.name, e)
                return await sql_tool(settings.model_copy(update={"tables": ()}))
        self._made[settings.name] = tool
        return tool
