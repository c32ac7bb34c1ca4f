"""The tools of a catalogue."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence

from serving.assistants.tools.http import http_tool
from serving.assistants.tools.mcp import McpServers
from serving.assistants.tools.sql import columns, sql_tool
from serving.assistants.tools.tool import Tool, ToolError
from serving.config import TOOLS, CatalogTool, HttpTool, McpTool, SecretRef, SqlTool

log = logging.getLogger("headrace.tools")

AGAIN_S = 30.0
"""Seconds until a database that did not tell of all its tables is asked for them again."""


class CatalogTools:
    """Makes tools when they are first asked for: to tell of its tables a database must be there."""

    def __init__(
        self, servers: McpServers, tools: Sequence[CatalogTool] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers
        self._settings = {tool.name: tool for tool in tools}
        self._clock = clock
        # By name and secrets: who has others is asked as somebody else.
        self._made: dict[tuple[object, ...], tuple[Tool, float]] = {}

    async def get(self, names: Sequence[str], tenant: str) -> list[Tool]:
        """Returns those of `names` that are not built in, with the secrets that are used for a tenant.

        An MCP server's name stands for all that it has. A tool for which the tenant has no secret is left out.
        """
        wanted = (self._settings[name] for name in names if name not in TOOLS)
        for_tenant = (tool if isinstance(tool, SqlTool) else tool.of_tenant(tenant) for tool in wanted)
        found = await asyncio.gather(*(self._entry_tools(tool) for tool in for_tenant if tool is not None))
        return [tool for tools in found for tool in tools]

    def told_by_others(self, names: Sequence[str]) -> bool:
        """Whether others wrote what a model is told of these tools, before it calls one."""
        return any(isinstance(self._settings.get(name), McpTool) for name in names)

    async def _entry_tools(self, settings: CatalogTool) -> Sequence[Tool]:
        if isinstance(settings, McpTool):
            return await self._servers.tools(settings)
        made_with = (settings.name, *sorted((name, ref.ref) for name, ref in _secrets(settings).items()))
        tool, until = self._made.get(made_with, (None, -math.inf))
        if tool is None or self._clock() >= until:
            tool, until = await self._make(settings)
            self._made[made_with] = tool, until
        return [tool]

    async def _make(self, settings: HttpTool | SqlTool) -> tuple[Tool, float]:
        """Returns a tool, and until when it can be kept: one that does not know all its tables is made again."""
        if isinstance(settings, HttpTool):
            return http_tool(settings), math.inf
        try:
            tables = await columns(settings)
        except ToolError as e:
            log.warning("the tool %s does not know its tables: %s", settings.name, e)
            tables = {}
        else:
            for table in sorted(set(settings.tables) - set(tables)):
                log.warning("the tool %s: its database has no table %s", settings.name, table)
        whole = set(tables) == set(settings.tables)
        return sql_tool(settings, tables), math.inf if whole else self._clock() + AGAIN_S


def _secrets(settings: HttpTool | SqlTool) -> Mapping[str, SecretRef]:
    return settings.secrets if isinstance(settings, HttpTool) else {}
