"""An engine as strategies use it: complete answers, within its context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from serving.assistants.items import Message
from serving.assistants.strategies.model import Call, Generation, ModelCompletion, PromptTooLong, TokenUsage
from serving.assistants.unmarking import Unmarking
from serving.engines.choices_usage import at_least
from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint
from serving.engines.reported_usage import counts_of
from serving.engines.token_counter import TokenCounter
from serving.protocol.errors import ApiError, may_have_worked, upstream

COMPLETION = 2048
"""Default number of completion tokens. The maximum is half of the context."""


class EngineModel:
    """Sends requests to `endpoint`; `document` has the request's sampling fields."""

    def __init__(self, client: EngineClient, endpoint: Endpoint, document: dict[str, Any]) -> None:
        self._client = client
        self._endpoint = endpoint
        self._document = document
        self._times = 0
        self.unknown = False  # whether it may have used more than it reported
        # llama.cpp needs a slot for each of several samples, and a request has one.
        self._several = endpoint.tokenizer != "llamacpp"

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float | None = None,
        stop: Sequence[str] = (),
        max_tokens: int | None = None,
        tools: Sequence[dict[str, Any]] = (),
    ) -> Generation:
        """Returns the engine's completions: `n`, or one if it does not support several.

        Raises `PromptTooLong` and `ApiError`.
        """
        document = {**self._document, "messages": list(messages)}
        tokens = TokenCounter(self._client, self._endpoint, list(tools))
        window = await tokens.window()
        most = completion_tokens(document.get("max_tokens"), window)
        document["max_tokens"] = most if max_tokens is None else min(most, max_tokens)
        if window is not None and not await tokens.fit(document["messages"], window - most):
            raise PromptTooLong
        if temperature is not None:
            document["temperature"] = temperature
        if stop:
            given = document.get("stop") or []
            document["stop"] = [*([given] if isinstance(given, str) else given), *stop]
        if tools:
            document["tools"] = list(tools)
        if "seed" in document:
            document["seed"] += self._times  # the same seed would give the same sample
        self._times += 1
        if n > 1 and self._several:
            try:
                return await self._ask({**document, "n": n})
            except ApiError as e:
                if e.type != "invalid_request_error":
                    raise
                self._several = False  # some engines reject n; the next request shows any other error
        return await self._ask(document)

    async def _ask(self, document: dict[str, Any]) -> Generation:
        try:
            async with self._client.post(self._endpoint, "/chat/completions", document) as response:
                answer = await read_answer(response, self._endpoint)
            if isinstance(usage := answer.get("usage"), dict) and isinstance(choices := answer.get("choices"), list):
                answer["usage"] = at_least(usage, document, choices)
            generation = _unmarked(Unmarking.in_prompt(document["messages"]), _generation(answer))
        except BaseException as e:
            self.unknown = self.unknown or may_have_worked(e)
            raise
        self.unknown = self.unknown or counts_of(answer.get("usage")) is None
        return generation


def completion_tokens(asked: int | None, window: int | None) -> int:
    """Returns the limit of a completion, given a caller's `max_tokens` and a context of `window` tokens."""
    most = asked or COMPLETION
    return most if window is None else min(most, window // 2)


def _generation(answer: dict[str, Any]) -> Generation:
    try:
        completions = tuple(_completion(choice) for choice in answer["choices"])
        usage = answer.get("usage") or {}
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        counted = TokenUsage(
            *(int(n or 0) for n in (usage.get("prompt_tokens"), usage.get("completion_tokens"), cached))
        )
    except (AttributeError, LookupError, TypeError, ValueError):
        raise upstream("The model's answer is not a chat message.") from None
    if not completions:
        raise upstream("The model's answer has no choices.")
    return Generation(completions, counted)


def _unmarked(unmarking: Unmarking | None, generation: Generation) -> Generation:
    """Returns the completions without the marks of their prompt."""
    if unmarking is None:
        return generation
    completions = tuple(
        replace(
            each,
            text=unmarking.text(each.text),
            calls=tuple(replace(call, arguments=unmarking.text(call.arguments)) for call in each.calls),
        )
        for each in generation.completions
    )
    return replace(generation, completions=completions)


def _completion(choice: dict[str, Any]) -> ModelCompletion:
    message = choice["message"]
    calls = tuple(
        Call(str(call.get("id") or ""), str(call["function"]["name"]), str(call["function"].get("arguments") or ""))
        for call in message.get("tool_calls") or ()
    )
    content = message.get("content") or ""
    if not isinstance(content, str):
        raise TypeError
    return ModelCompletion(content, choice.get("finish_reason") or "stop", calls)
