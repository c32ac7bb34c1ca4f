"""A scripted engine. The last message of a chat is a `Script`, which says what it answers and where it stands still.

It tells what it was asked, by which model, and when it wrote its first token: the truth about who really served.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from aiohttp import web

Point = Literal["", "first", "middle", "end"]
End = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Script:
    """What the engine does for a request: the tokens that it reads and writes (for each choice), where it holds, how
    its answer ends, and where it fails: at once with `fails`, or in the middle of a stream with `breaks`."""

    number: int
    reads: int = 7
    writes: int = 4
    holds: Point = ""
    ends: End = "stop"
    fails: int = 0
    breaks: bool = False

    def text(self) -> str:
        return json.dumps(asdict(self))


@dataclass
class Work:
    """What the engine did for a request. Times are of `time.perf_counter`, and None for what did not come."""

    model: str
    asked_at: float
    first_at: float | None = None
    ended_at: float | None = None


@dataclass
class Engine:
    """An OpenAI-compatible endpoint; `works` are by the number of their request."""

    works: dict[int, list[Work]] = field(default_factory=dict)
    holding: set[int] = field(default_factory=set)
    strangers: list[str] = field(default_factory=list)
    """What it was asked that no script of the accountant's asks."""
    _going_on: dict[int, asyncio.Event] = field(default_factory=dict)

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_post("/v1/embeddings", self._embed)
        app.router.add_post("/tokenize", self._tokenize)
        return app

    def ending(self, script: Script, model: str) -> str:
        """Returns the `finish_reason` of an answer."""
        return script.ends

    def release(self, number: int) -> None:
        """Lets a request go on that is held."""
        self._event(number).set()

    def _event(self, number: int) -> asyncio.Event:
        return self._going_on.setdefault(number, asyncio.Event())

    async def _hold(self, script: Script, point: Point) -> None:
        if script.holds == point:
            self.holding.add(script.number)
            try:
                await self._event(script.number).wait()
            finally:  # also when the gateway lets go of the request
                self.holding.discard(script.number)

    async def _tokenize(self, request: web.Request) -> web.Response:
        self.strangers.append(f"tokenize {await request.text()}")
        return web.json_response({"tokens": [1], "count": 1, "max_model_len": 1000})

    async def _embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        scripts = [Script(**json.loads(text)) for text in body["input"]]
        self.works.setdefault(scripts[0].number, []).append(Work(body["model"], time.perf_counter()))
        data = [{"index": i, "embedding": [1.0, 0.0]} for i in range(len(scripts))]
        tokens = sum(script.reads for script in scripts)
        return web.json_response({"data": data, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}})

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        script = Script(**json.loads(body["prompt"] if "prompt" in body else body["messages"][-1]["content"]))
        work = Work(body["model"], time.perf_counter())
        self.works.setdefault(script.number, []).append(work)
        choices = body.get("n") or 1
        usage = {"prompt_tokens": script.reads, "completion_tokens": script.writes * choices}
        usage["total_tokens"] = sum(usage.values())
        if script.fails:
            return web.json_response({"error": {"message": "scripted"}}, status=script.fails)
        if body.get("stream"):
            return await self._stream(request, script, work, choices, usage, chat="messages" in body)
        await self._hold(script, "first")
        text = " ".join(["word"] * script.writes)
        said = {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        found = [{"index": i, "finish_reason": self.ending(script, work.model), **said} for i in range(choices)]
        work.ended_at = time.perf_counter()
        return web.json_response({"id": "theirs", "created": 1, "choices": found, "usage": usage})

    async def _stream(
        self, request: web.Request, script: Script, work: Work, choices: int, usage: dict[str, int], *, chat: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        def frame(choices: list[dict[str, Any]], **more: Any) -> bytes:
            return f"data: {json.dumps({'id': 'theirs', 'created': 1, 'choices': choices, **more})}\n\n".encode()

        await self._hold(script, "first")
        work.first_at = time.perf_counter()
        for place in range(script.writes):
            if place == script.writes // 2:
                await self._hold(script, "middle")
                if script.breaks:
                    assert request.transport is not None
                    request.transport.abort()
                    return response
            said: dict[str, Any] = {"delta": {"content": "word "}} if chat else {"text": "word "}
            data = frame([{"index": i, "finish_reason": None, **said} for i in range(choices)])
            if place == script.writes - 1:  # in one piece: who has the last word knows of the usage
                end: dict[str, Any] = {"delta": {}} if chat else {"text": ""}
                reason = self.ending(script, work.model)
                data += frame([{"index": i, "finish_reason": reason, **end} for i in range(choices)])
                data += frame([], usage=usage)
            await response.write(data)
        await self._hold(script, "end")
        work.ended_at = time.perf_counter()
        with suppress(ConnectionResetError):  # whoever hung up lets it go on
            await response.write(b"data: [DONE]\n\n")
        return response
