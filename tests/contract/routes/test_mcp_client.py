"""What somebody does with MCP's official client and the whole API: real documents, a real model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.contract.api.mcp.speaking import MODES, connected
from tests.contract.routes.whole import CLERK

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-your-client.md"
BREAD = "On which days does the bakery of Brenna bake rye bread?"


@pytest.mark.parametrize("mode", MODES)
async def test_documents_are_searched_and_answered_from(whole, mode):
    async with connected(whole.url, whole.key, mode) as client:
        stores = (await client.call_tool("list_vector_stores", {"name": "docs"})).structured_content["data"]
        found = await client.call_tool("search", {"vector_store_id": stores[0]["id"], "query": BREAD})
        (hit,) = found.structured_content["data"]
        assert (hit["filename"], "Mondays and Thursdays" in hit["content"][0]["text"]) == ("bread.md", True)
        told = await client.call_tool("ask", {"model": "docs", "question": BREAD})
    answer = told.structured_content
    assert "Mondays and Thursdays" in answer["answer"]
    assert [each["title"] for each in answer["sources"]] == ["Bread"]
    assert answer["sources"][0]["file_id"] == hit["file_id"]
    assert told.content[0].text.startswith(answer["answer"])


async def test_a_model_answers(whole):
    async with connected(whole.url, whole.key) as client:
        told = await client.call_tool("ask", {"model": CLERK, "question": "What is a heron?"})
    assert told.content[0].text == "You asked What is a heron?"


async def test_the_session_of_the_sdk_shakes_hands(whole):
    """Beside the client, the SDK has the session that its earlier versions had."""
    import httpx2

    headers = {"Authorization": f"Bearer {whole.key}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        streamable_http_client(f"{whole.url}/mcp", http_client=http) as (read, write),
        ClientSession(read, write) as session,
    ):
        greeted = await session.initialize()
        assert greeted.server_info.name == "headrace"
        assert "ask" in [tool.name for tool in (await session.list_tools()).tools]
        await session.send_ping()


def test_the_sample_of_our_page_runs(whole, monkeypatch, capsys):
    monkeypatch.setenv("URL", whole.url)
    monkeypatch.setenv("KEY", whole.key)
    (sample,) = re.findall(r"```python\n(import asyncio\nimport os\nimport httpx2.*?)```", PAGE.read_text(), re.DOTALL)
    exec(sample, {})
    tools, answer = capsys.readouterr().out.split("\n", 1)
    assert "'search', 'ask'" in tools
    assert answer.strip()
