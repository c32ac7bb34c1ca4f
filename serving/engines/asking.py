"""Requests to models that do not generate text, such as embedders and rerankers."""

from __future__ import annotations

from typing import Any

from serving.core.principal import Principal
from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import EngineBusy, EngineUnavailable
from serving.engines.pool import Engines
from serving.protocol.errors import EngineLost, EngineMissing, busy

ELSEWHERE = 2
"""Number of other replicas to try when one is lost before its answer: the request has no side effects."""


async def ask(
    engines: Engines, client: EngineClient, model: str, caller: Principal, path: str, fields: dict[str, Any]
) -> dict[str, Any]:
    """Returns a model's answer to a request of `caller`. Raises `ApiError`."""
    lost: list[str] = []
    while True:
        another = False
        try:
            async with engines.endpoint(model, caller, lost) as endpoint:
                another = endpoint.leased and len(lost) < ELSEWHERE
                async with client.post(endpoint, path, {**fields, "model": endpoint.model}) as response:
                    return await read_answer(response, endpoint)
        except EngineLost:
            if not another:
                raise
            lost.append(endpoint.url)
        except EngineBusy as e:
            raise busy(str(e)) from None
        except EngineUnavailable as e:
            raise EngineMissing(f"{e}.".capitalize()) from None


def tokens_read(answer: dict[str, Any]) -> int | None:
    """Returns the number of tokens that an engine reports to have read; None if it reports none."""
    usage = answer.get("usage")
    for field in ("prompt_tokens", "total_tokens"):
        count = usage.get(field) if isinstance(usage, dict) else None
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
            return count
    return None
