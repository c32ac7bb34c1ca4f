"""What an engine receives of a request that requires a call."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from serving.config.engines import Tokenizer
from serving.engines.client import EngineClient
from serving.engines.endpoint import Endpoint

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize(("tokenizer", "strict"), [("vllm", True), (None, None)])
async def test_only_vllm_is_asked_for_a_strict_call(tokenizer: Tokenizer | None, strict: bool | None) -> None:
    received: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        received.append(await request.json())
        return web.json_response({})

    application = web.Application()
    application.router.add_post("/v1/chat/completions", answer)
    async with TestServer(application) as server:
        endpoint = Endpoint(str(server.make_url("/v1")), "m", {}, tokenizer=tokenizer)
        client = EngineClient()
        try:
            document = {"model": "m", "messages": [], "tools": [TOOL], "tool_choice": "required"}
            async with client.post(endpoint, "/chat/completions", document) as response:
                assert response.status == 200  # ty: ignore[missing-attribute]
        finally:
            await client.close()
    assert [tool["function"].get("strict") for tool in received[0]["tools"]] == [strict]
