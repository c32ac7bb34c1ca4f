"""A scripted model that writes Markdown at a steady rate, and conversations for the page to show."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

TOKEN_CHARACTERS = 4
PARAGRAPH = (
    "The **tide** at the gauge follows the moon with a delay of some `minutes`, and the [table](https://example.com/t) "
    "gives the height above the chart's zero for each hour of the day.\n\n"
)
LIST = "- high water at *noon*\n- low water in the evening\n- slack water between them\n\n"
CODE = "```python\ndef height(hour):\n    return 3 + 2 * cos(hour / 12.4)\n```\n\n"
BLOCKS = (PARAGRAPH, PARAGRAPH, LIST, PARAGRAPH, CODE)


def markdown(characters: int) -> str:
    """Returns a text of so many characters: paragraphs, lists and code in turn."""
    whole = "".join(BLOCKS)
    return (whole * (characters // len(whole) + 1))[:characters]


def conversation_items(first: int, count: int) -> list[dict[str, Any]]:
    """Returns messages, in turn a question and an answer of about 500 characters, numbered from `first`."""
    return [
        {"role": "assistant", "content": f"Answer {n}.\n\n{markdown(500)}"}
        if n % 2
        else {"role": "user", "content": f"Question {n}: how high does the water rise today?"}
        for n in range(first, first + count)
    ]


class ScriptedModel:
    """A model's HTTP server. Its answers have `tokens` tokens of 4 characters, `per_second` of them each second."""

    def __init__(self) -> None:
        self.tokens = 100
        self.per_second = 200.0

    def app(self) -> web.Application:
        """Returns the application to serve."""
        app = web.Application(client_max_size=10**8)
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": "none"}, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
        text = markdown(self.tokens * TOKEN_CHARACTERS)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(self.tokens):
            at = number * TOKEN_CHARACTERS
            await response.write(_frame({"content": text[at : at + TOKEN_CHARACTERS]}, None))
            # By the clock, so that what one token waited for does not delay those after it.
            await asyncio.sleep(max(0.0, began + (number + 1) / self.per_second - loop.time()))
        await response.write(_frame({}, "stop") + b"data: [DONE]\n\n")
        return response


def _frame(delta: dict[str, Any], reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'id': 'scripted', 'choices': [choice]})}\n\n".encode()
