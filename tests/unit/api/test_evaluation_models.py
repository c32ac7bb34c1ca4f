"""How an evaluation asks models that are busy."""

from __future__ import annotations

import math
from types import SimpleNamespace

import orjson
import pytest

from serving.api.background import evaluations
from serving.core.principal import Principal
from serving.store.jobs.worker import Postponed

ME = Principal("acme", "ann", "")
BUSY = SimpleNamespace(error=SimpleNamespace(code="overloaded"), status=429, body=b"{}")
ANSWER = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}


async def test_a_busy_model_is_asked_again_until_the_turn_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other model's answer to the same prompt would be lost, and paid for twice."""
    monkeypatch.setattr(evaluations, "BUSY_S", 0.0)
    answers = [BUSY, BUSY, SimpleNamespace(error=None, status=200, body=orjson.dumps(ANSWER)), BUSY]

    async def route(body: bytes, x: object) -> SimpleNamespace:
        return answers.pop(0)

    async def ask(until: float) -> str:
        models = evaluations._Models({evaluations.CHAT: route}, ME, until)
        return (await models.answer("m", [], temperature=0, max_tokens=1)).text

    assert await ask(math.inf) == "yes"
    with pytest.raises(Postponed):
        await ask(-math.inf)
