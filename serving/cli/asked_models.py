"""The models of a stack, as evaluations ask them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import orjson

from serving.hub.evaluation.answers import Answer, Messages, answered, refused

TIMEOUT_S = 600
"""Maximum seconds without a byte of an answer."""


class AskedModels:
    """Asks through the API. Answers are streamed, so that the time of their first token is known."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def answer(self, model: str, messages: Messages, *, temperature: float, max_tokens: int) -> Answer:
        """Returns the answer to a chat; a request that is not answered is an answer with its error."""
        body = {
            "model": model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        began = time.monotonic()
        try:
            async with self._client.stream("POST", "/v1/chat/completions", json=body, timeout=TIMEOUT_S) as response:
                if not response.is_success:
                    return refused(_json(await response.aread()))
                return await _read(response, began)
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return Answer(error="unavailable")

    async def score(self, model: str, query: str, documents: Sequence[str]) -> Sequence[float] | None:
        """Returns the scores of `/v1/rerank`, or None if the model does not answer."""
        body = {"model": model, "query": query, "documents": list(documents)}
        try:
            response = await self._client.post("/v1/rerank", json=body, timeout=TIMEOUT_S)
            if not response.is_success:
                return None
            found = {each["index"]: float(each["relevance_score"]) for each in response.json()["results"]}
            return [found[number] for number in range(len(documents))]
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return None


async def _read(response: httpx.Response, began: float) -> Answer:
    """Returns a stream as an answer. Raises `ValueError` and `LookupError` for what is no stream of a chat."""
    text, reason, first = "", None, None
    usage: dict[str, Any] = {}
    beside: dict[str, Any] = {}
    async for frame in _frames(response):
        if "error" in frame:
            return refused(frame)
        usage = frame.get("usage") or usage
        for choice in frame.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("content"):
                first = time.monotonic() - began if first is None else first
                text += delta["content"]
            beside = delta.get("headrace") or beside
            reason = choice.get("finish_reason") or reason
    if reason is None:
        return Answer(text=text, error="engine_error")
    message = {"content": text, "headrace": beside}
    document = {"choices": [{"message": message, "finish_reason": reason}], "usage": usage}
    return answered(document, seconds=time.monotonic() - began, first_token_s=first)


async def _frames(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("data: {"):
            yield orjson.loads(line[len("data: ") :])


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None
