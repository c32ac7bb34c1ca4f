"""A model that works for memory, not for a caller who waits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from serving.api.errors import upstream
from serving.api.generation import count_tokens
from serving.api.tokens import Tokens
from serving.api.upstream import Upstream, read_answer
from serving.assistants.items import Message
from serving.assistants.resolver import Route
from serving.engines.endpoint import Endpoint
from serving.engines.pool import Engines
from serving.security.principal import Principal

UNKNOWN_WINDOW = 4096
"""Tokens of a prompt with its answer, where nobody knows the model's context."""


@dataclass(frozen=True, slots=True)
class Helper:
    """A leased model: what fits is counted as it counts, and it answers with a text."""

    client: Upstream
    endpoint: Endpoint
    tokens: Tokens
    window: int
    model: str
    tenant: str

    async def ask(self, messages: list[Message], max_tokens: int, schema: dict[str, Any] | None = None) -> str:
        """Returns the answer's text, empty when there is none. Raises `ApiError`.

        Engines that are known to take a JSON `schema` are held to it.
        """
        document: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        if schema is not None and self.endpoint.tokenizer is not None:
            document["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        async with self.client.post(self.endpoint, "/chat/completions", document) as response:
            answer = await read_answer(response, self.endpoint)
        count_tokens(self.model, self.tenant, answer.get("usage") or {})
        try:
            content = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError):
            raise upstream("The model's answer has no choices.") from None
        return content.strip() if isinstance(content, str) else ""


@contextlib.asynccontextmanager
async def helper(engines: Engines, client: Upstream, route: Route, caller: Principal) -> AsyncIterator[Helper]:
    """Leases the model of `route`, for `caller`. Raises `EngineUnavailable`."""
    async with engines.endpoint(route.model, caller) as endpoint:
        tokens = Tokens(client, endpoint)
        window = await tokens.window() or UNKNOWN_WINDOW
        yield Helper(client, endpoint, tokens, window, route.requested, caller.tenant)
