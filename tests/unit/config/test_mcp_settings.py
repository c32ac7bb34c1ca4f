"""Settings of MCP servers."""

from __future__ import annotations

import pytest

from serving.config import McpTool


@pytest.mark.parametrize(
    "given",
    [
        {"name": "T"},
        {"name": "x" * 33},
        {"url": "ftp://tools.example.com"},
        {"url": "https://"},
        {"url": "https://me:secret@tools.example.com/mcp"},
        {"url": "https://tools.example.com:99999/mcp"},
        {"url": "https://tools.example.com/a b"},
        {"headers": {"Host": {"ref": "env:X"}}},
        {"headers": {"Mcp-Session-Id": {"ref": "env:X"}}},
        {"headers": {"X": {"ref": "env:X"}, "x": {"ref": "env:X"}}},
        {"headers": {"X": "plain"}},
        {"headers": {"X\r\nY": {"ref": "env:X"}}},
        {"tools": ()},
        {"tools": ("a",), "read_only": ("b",)},
        {"timeout_s": 0},
        {"max_bytes": 10**9},
        {"command": "npx"},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        McpTool.model_validate({"kind": "mcp", "name": "t", "url": "https://tools.example.com/mcp", **given})
