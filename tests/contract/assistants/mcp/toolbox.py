"""Toolboxes of MCP servers, and a clock for their lifetimes."""

from __future__ import annotations

from serving.assistants.tools.tool import Toolbox
from serving.config import McpTool


def settings(url, **more):
    more = {"approval": "never", "private": True, "timeout_s": 20, **more}
    return McpTool(name="t", url=url, **more)


async def box(servers, given):
    return Toolbox(await servers.tools(given), 1000, 60, characters=10_000_000)


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now
