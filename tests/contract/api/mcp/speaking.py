"""MCP's official client, and messages as they are, to a gateway of the tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

HANDSHAKE, ENVELOPE = "2025-11-25", "2026-07-28"
MODES = {"legacy": HANDSHAKE, "auto": ENVELOPE}
"""How the client begins, with the version that it then speaks."""


@asynccontextmanager
async def connected(url: str, key: str, mode: str = "auto") -> AsyncIterator[Client]:
    """The official client, which carries `key`."""
    headers = {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120, trust_env=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        assert client.protocol_version == MODES[mode]
        yield client


def called(up, name, arguments=None, *, key=None, mode="auto"):
    """Returns the result of a tool, as the official client reads it."""

    async def call():
        async with connected(up.url, key or up.key, mode) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(call())


def listed(up, key=None, mode="auto"):
    """Returns the tools that a caller is offered, by name."""

    async def ask():
        async with connected(up.url, key or up.key, mode) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return asyncio.run(ask())


def refused(result):
    """Returns how a tool says that it could not do what was asked."""
    assert result.is_error
    assert result.structured_content is None
    (told,) = result.content
    return told.text


def message(method="tools/list", params=None, id=1):
    """A request of a version with a handshake."""
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}


def tool(name, **arguments):
    """A request to call a tool."""
    return message("tools/call", {"name": name, "arguments": arguments})
