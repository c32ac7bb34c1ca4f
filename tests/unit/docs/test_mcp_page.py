"""The page of the MCP server: its table has the tools, their routes and scopes."""

from __future__ import annotations

import re
from pathlib import Path

from serving.api.mcp.tools import TOOLS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "mcp.md"


def test_each_tool_is_listed_with_its_route_and_scope():
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \| (?:`([^`]+)`)? *\|", PAGE.read_text(), re.MULTILINE)
    assert rows == [(tool.name, tool.route, tool.op.scope or "") for tool in TOOLS.values()]
