"""The tools of a catalogue."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from serving.assistants.tools.http import http_tool
from serving.assistants.tools.sql import sql_tool
from serving.assistants.tools.tool import Tool, ToolError
from serving.config import TOOLS, CatalogTool, HttpTool

log = logging.getLogger("headrace.tools")


class CatalogTools:
    """Makes tools when they are first asked for: to tell of its tables a database must be there."""

    def __init__(self, tools: Sequence[CatalogTool] = ()) -> None:
        self._settings = {tool.name: tool for tool in tools}
        self._made: dict[str, Tool] = {}

    async def get(self, names: Sequence[str]) -> list[Tool]:
        """Returns those of `names` that are not built in."""
        return [self._made.get(name) or await self._make(self._settings[name]) for name in names if name not in TOOLS]

    async def _make(self, settings: CatalogTool) -> Tool:
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
