"""MCP servers of both kinds, and what asks them."""

from __future__ import annotations

import asyncio

import pytest

from serving.assistants.tools.mcp import McpServers
from tests.servers.mcp_process import Process


@pytest.fixture(scope="module")
def modern():
    process = Process()
    yield process
    process.close()


@pytest.fixture(scope="module")
def legacy():
    process = Process("legacy")
    yield process
    process.close()


@pytest.fixture(params=["modern", "legacy"])
def process(request):
    """A server of either kind: without sessions, or with a handshake and sessions."""
    return request.getfixturevalue(request.param)


@pytest.fixture
async def servers():
    servers = McpServers()
    yield servers
    await servers.close()
    assert {asyncio.current_task()} == asyncio.all_tasks()  # nothing of it is left
