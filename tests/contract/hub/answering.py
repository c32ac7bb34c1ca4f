"""An engine whose models answer as scripted: each is a function of the last message, which may be a coroutine."""

from __future__ import annotations

import inspect
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

Said = tuple[str, str] | None


class Answering:
    """`says` maps a model's name to its function, which returns the text and the finish reason, or None for a 500."""

    def __init__(self, **says: Callable[[str], Said | Awaitable[Said]]) -> None:
        self.says = says
        self.asked: list[str] = []
        self.between: Callable[[str], Awaitable[None]] | None = None
        """Awaited with the model's name after the text of a stream, before its end."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.asked.append(body["model"])
        said = self.says[body["model"]](body["messages"][-1]["content"])
        if inspect.isawaitable(said):
            said = await said
        if said is None:
            return web.json_response({"error": {"message": "broken"}}, status=500)
        text, reason = said
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        if not body.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return web.json_response({"id": "theirs", "choices": [choice], "usage": usage})
        frames = [
            {"id": "theirs", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
            {"id": "theirs", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
            {"id": "theirs", "choices": [], "usage": usage},
        ]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, frame in enumerate(frames):
            if number == 1 and self.between is not None:
                await self.between(body["model"])
            await response.write(b"data: " + json.dumps(frame).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response
