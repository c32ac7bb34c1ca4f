"""The scripted engine as a provider that many things can happen to; none of them is told to the stack."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict, deque
from dataclasses import dataclass, field

from aiohttp import web

from tests.contract.monitoring.accountant.engine import Engine, Script

USUAL_S = 0.05
"""How long an answer takes while all is well."""


@dataclass
class Provider(Engine):
    """What is wrong with models, by their names; at first nothing is."""

    truncating: set[str] = field(default_factory=set)
    limits: dict[str, float] = field(default_factory=dict)
    """Requests in ten seconds; more of them get a 429."""
    expired: set[str] = field(default_factory=set)
    """Keys that are not accepted any more."""
    delays: dict[str, float] = field(default_factory=dict)
    hanging: dict[str, asyncio.Event] = field(default_factory=dict)
    """Models that answer only once their event is set."""
    _asked: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def ending(self, script: Script, model: str) -> str:
        return "length" if model in self.truncating else "stop"

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.expired:
            return _refusal(401, "Incorrect API key provided: it has expired.")
        if model in self.limits and self._exceeds(model):
            return _refusal(429, "Rate limit reached.")
        if model in self.hanging:
            await self.hanging[model].wait()
        await asyncio.sleep(self.delays.get(model, USUAL_S))
        if "number" not in _script(body):
            return web.json_response(_answer("The heron eats fish [1]."))
        return await super()._generate(request)

    def _exceeds(self, model: str) -> bool:
        now, asked = time.monotonic(), self._asked[model]
        while asked and asked[0] < now - 10:
            asked.popleft()
        if len(asked) >= self.limits[model]:
            return True
        asked.append(now)
        return False


def _script(body: dict[str, object]) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads(body["messages"][-1]["content"])  # type: ignore[index]
    except ValueError:  # a person's question
        return {}
    return found


def _answer(text: str) -> dict[str, object]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}
    return {"id": "theirs", "created": 1, "choices": [choice], "usage": usage}


def _refusal(status: int, message: str) -> web.Response:
    headers = {"retry-after": "2"} if status == 429 else {}
    return web.json_response({"error": {"message": message}}, status=status, headers=headers)
