"""A scripted engine: it says back what it was last told, word by word, and counts what it sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web


class Engine:
    """An OpenAI-compatible endpoint. `on_frame` is called with the number of frames that it has begun to send."""

    def __init__(self, on_frame: Callable[[int], None] = lambda number: None) -> None:
        self._on_frame = on_frame
        self.frames = 0
        self.going_on = asyncio.Event()
        """While it is not set, streams stand still before they end."""
        self.going_on.set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_post("/v1/completions", self._complete)
        app.router.add_post("/tokenize", self._tokenize)
        return app

    def said(self, messages: list[dict[str, Any]]) -> str:
        """Returns the answer."""
        return f"echo {messages[-1].get('content')}"

    def _count(self) -> None:
        self.frames += 1
        self._on_frame(self.frames)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        count = 1 if "prompt" in body else len(str(body["messages"]).split())
        return web.json_response({"count": count, "max_model_len": WINDOW, "tokens": [1] * count})

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        choice: dict[str, Any] = {"index": 0, "text": "echo", "finish_reason": "stop"}
        if not body.get("stream"):
            return web.json_response({**ANSWER, "object": "text_completion", "choices": [choice]})
        return await self._stream(request, [choice])

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        text = self.said(body["messages"])
        message = {"role": "assistant", "content": text}
        if not body.get("stream"):
            self._count()
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({**ANSWER, "object": "chat.completion", "choices": [choice]})
        deltas = [{"role": "assistant"}, *({"content": word} for word in text.split(" "))]
        deltas[2:] = [{"content": f" {delta['content']}"} for delta in deltas[2:]]
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        return await self._stream(request, [*choices, {"index": 0, "delta": {}, "finish_reason": "stop"}])

    async def _stream(self, request: web.Request, choices: list[dict[str, Any]]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for choice in choices:
            if choice["finish_reason"] is not None:
                await self.going_on.wait()
            self._count()
            await response.write(f"data: {json.dumps({'id': 'theirs', 'choices': [choice]})}\n\n".encode())
        usage = f"data: {json.dumps({'id': 'theirs', 'choices': [], 'usage': USAGE})}\n\n"
        await response.write(usage.encode() + b"data: [DONE]\n\n")
        return response


WINDOW = 400
"""Words that it reads: what memory shows it, and each turn costs, is bounded however long a campaign is."""
USAGE = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
ANSWER = {"id": "theirs", "created": 1, "model": "theirs", "usage": USAGE}
