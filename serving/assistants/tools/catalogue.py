"""The tools of a catalogue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from serving.assistants.tools import http, sql
from serving.assistants.tools.mcp import McpServers
from serving.assistants.tools.tool import MadeTools, Tool
from serving.config import TOOLS, CatalogTool, McpTool


async def _of_server(settings: McpTool, servers: McpServers) -> MadeTools:
    return MadeTools(await servers.tools(settings), keep_s=0)  # the session itself notices when its tools change


MAKERS: dict[str, Callable[[Any, McpServers], Awaitable[MadeTools]]] = {
    "http": lambda settings, _: http.make(settings),
    "sql": lambda settings, _: sql.make(settings),
    "mcp": _of_server,
}
"""Functions that create the tools of an entry, by kind."""


class CatalogTools:
    """Creates tools on first use, since a database must be available to describe its tables."""

    def __init__(
        self, servers: McpServers, tools: Sequence[CatalogTool] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._servers = servers
        self._settings = {tool.name: tool for tool in tools}
        self._clock = clock
        # By name and secrets: with other secrets, a server may see another user.
        self._made: dict[tuple[object, ...], tuple[Sequence[Tool], float]] = {}

    async def get(self, names: Sequence[str], tenant: str) -> list[Tool]:
        """Returns the configured tools among `names`, with the tenant's secrets.

        An MCP server's name stands for all of its tools. A tool for which the tenant has no secret is omitted.
        """
        wanted = (self._settings[name] for name in names if name not in TOOLS)
        for_tenant = (tool.of_tenant(tenant) for tool in wanted)
        found = await asyncio.gather(*(self._entry_tools(tool) for tool in for_tenant if tool is not None))
        return [tool for tools in found for tool in tools]

    def told_by_others(self, names: Sequence[str]) -> bool:
        """Returns whether the descriptions of these tools were written by others."""
        return any(self._settings[name].told_by_others for name in names if name in self._settings)

    async def _entry_tools(self, settings: CatalogTool) -> Sequence[Tool]:
        made_with = (settings.name, *sorted((name, ref.ref) for name, ref in settings.secrets.items()))
        tools, until = self._made.get(made_with, ((), -math.inf))
        if self._clock() < until:
            return tools
        made = await MAKERS[settings.kind](settings, self._servers)
        if made.keep_s > 0:
            self._made[made_with] = made.tools, self._clock() + made.keep_s
        return made.tools
