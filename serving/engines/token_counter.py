"""Counts prompt tokens as the engine that reads the prompt does, to check whether it fits."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import orjson

from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint
from serving.protocol.errors import ApiError, upstream

OVERHEAD = 256
"""Number of tokens that a chat template may add to a prompt: default instructions, special tokens, a preamble for
tools.
"""

OTHER_PART = 2048
"""Assumed number of tokens of an image, a recording or a file, which no tokenizer counts."""

WINDOW_S = 60.0
"""Seconds that a window is cached: another engine may start at the same address."""

WINDOWS = 256


class TokenCounter:
    """Counts prompts for `endpoint`; `tools` are part of each prompt.

    llama.cpp and vLLM apply the model's own chat template and tokenizer. For other engines, `estimate_upper_bound` is
    used.
    """

    def __init__(self, client: EngineClient, endpoint: Endpoint, tools: list[dict[str, Any]] | None = None) -> None:
        self._client = client
        self._endpoint = replace(endpoint, url=endpoint.url.removesuffix("/v1"))
        self._tools = {"tools": tools} if tools else {}

    async def window(self) -> int | None:
        """Returns the maximum number of tokens of a prompt with its answer; None if unknown.

        The engine's answer is cached for WINDOW_S, since strategies and conversations need it at every step.
        """
        endpoint = self._endpoint
        if endpoint.context is not None or endpoint.tokenizer != "vllm":
            return endpoint.context
        known, key, now = self._client.windows, (endpoint.url, endpoint.model), time.monotonic()
        if key in known and now < known[key][0]:
            return known[key][1]
        try:
            window = _number(await self._ask("/tokenize", {"model": endpoint.model, "prompt": "x"}), "max_model_len")
        except ApiError:
            return None
        if len(known) >= WINDOWS:  # replicas come and go, each on its own port
            known.clear()
        known[key] = now + WINDOW_S, window
        return window

    async def fit(self, messages: list[dict[str, Any]], limit: int) -> bool:
        """Returns whether `messages` have at most `limit` tokens."""
        bound = self.bound(messages)
        return bound <= limit or (await self.count(messages) or bound) <= limit

    def bound(self, messages: list[dict[str, Any]]) -> int:
        """Returns an upper bound of the number of tokens, without a request."""
        return estimate_upper_bound(messages, self._tools)

    async def count(self, messages: list[dict[str, Any]]) -> int | None:
        """Returns the number of tokens of a prompt; None if the engine cannot count, or the prompt has parts other than
        text.
        """
        if self._endpoint.tokenizer is None or any(map(other_parts, messages)):
            return None
        try:
            if self._endpoint.tokenizer == "vllm":
                asked = {"model": self._endpoint.model, "messages": messages, "add_generation_prompt": True}
                return _number(await self._ask("/tokenize", asked | self._tools), "count")
            if messages[-1]["role"] == "assistant":  # llama.cpp would treat it as the beginning of the answer
                messages = [*messages, {"role": "user", "content": ""}]
            prompt = (await self._ask("/apply-template", {"messages": messages} | self._tools)).get("prompt")
            # The template's special tokens count as one token each, and its own text can contain them.
            marked = {"content": prompt, "add_special": True, "parse_special": True}
            tokens = (await self._ask("/tokenize", marked)).get("tokens")
            return len(tokens) if isinstance(tokens, list) else None
        except ApiError:  # a template can reject a partial conversation, for example one without a user message
            return None

    async def _ask(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        async with self._client.post(self._endpoint, path, document) as response:
            return await read_answer(response, self._endpoint)


def estimate_upper_bound(messages: list[dict[str, Any]], beside: Any) -> int:
    """Returns an upper bound of the number of tokens of a prompt: a token has at least one byte of UTF-8."""
    count = sum(len(other_parts(message)) for message in messages)
    texts = [{**m, "content": _texts(m)} for m in messages] if count else messages
    return len(orjson.dumps([texts, beside])) + count * OTHER_PART + OVERHEAD


def _number(answer: dict[str, Any], field: str) -> int:
    value = answer.get(field)
    if not isinstance(value, int):
        raise upstream("The model's endpoint does not count tokens as its engine should.")
    return value


def other_parts(message: dict[str, Any]) -> list[Any]:
    """Returns the parts of a message that are not text."""
    content = message.get("content")
    return [part for part in content if part["type"] != "text"] if isinstance(content, list) else []


def _texts(message: dict[str, Any]) -> Any:
    content = message.get("content")
    return [part for part in content if part["type"] == "text"] if isinstance(content, list) else content
