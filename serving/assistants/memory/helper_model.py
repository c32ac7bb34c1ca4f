"""Requests of memory to a model, for which no caller waits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from serving.assistants.items import Message
from serving.config import Price
from serving.core.principal import Principal
from serving.engines.client import EngineClient, read_answer
from serving.engines.endpoint import Endpoint
from serving.engines.pool import Engines
from serving.engines.router import Route
from serving.engines.token_counter import TokenCounter
from serving.metering.charge import Charge, charged_in_background
from serving.metering.cost import cost_of
from serving.metering.counters import count_cost, count_tokens
from serving.metering.keeper import Keeper
from serving.protocol.errors import ApiError, upstream
from serving.store.jobs.worker import Postponed

PATIENCE_S = 900.0
"""Maximum delay in seconds before work that exceeds a quota is retried."""

UNKNOWN_WINDOW = 4096
"""Assumed number of tokens of a prompt with its answer, if the model's context is unknown."""


@dataclass(frozen=True, slots=True)
class HelperModel:
    """A leased model for memory: counts tokens with the engine, and returns text."""

    client: EngineClient
    endpoint: Endpoint
    tokens: TokenCounter
    window: int
    model: str
    served: str
    tenant: str
    caller: Principal | None = None  # who is charged; None without quotas
    keeper: Keeper | None = None
    price: Price | None = None

    async def ask(self, messages: list[Message], max_tokens: int, schema: dict[str, Any] | None = None) -> str:
        """Returns the text of the answer, empty if there is none. Raises `ApiError`.

        Engines that support it are constrained to a JSON `schema`. Raises `Postponed` while a quota is exceeded, and
        `PermanentError` if it always will be.
        """
        document: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        if schema is not None and self.endpoint.tokenizer is not None:
            document["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        answer = await self._charged(document)
        try:
            content = answer["choices"][0]["message"]["content"]
        except (LookupError, TypeError):
            raise upstream("The model's answer has no choices.") from None
        return content.strip() if isinstance(content, str) else ""

    async def _charged(self, document: dict[str, Any]) -> dict[str, Any]:
        if self.caller is None or self.keeper is None:
            return await self._answer(document, None)
        asked = False
        try:
            async with charged_in_background(
                self.keeper, self.caller, self.model, self.endpoint, document, self.price
            ) as charge:
                asked = True
                return await self._answer(document, charge)
        except ApiError as e:
            if asked:
                raise
            raise Postponed(min(float(e.headers.get("Retry-After", 1)), PATIENCE_S)) from None

    async def _answer(self, document: dict[str, Any], charge: Charge | None) -> dict[str, Any]:
        async with self.client.post(self.endpoint, "/chat/completions", document) as response:
            answer = await read_answer(response, self.endpoint)
        usage = given if isinstance(given := answer.get("usage"), dict) else {}
        count_tokens(self.served, self.tenant, usage)
        cost = cost_of(usage, self.price)
        if charge is not None:
            charge.book(usage, cost)
        if cost is not None:
            count_cost(self.served, self.tenant, cost)
        return answer


@contextlib.asynccontextmanager
async def lease_helper(
    engines: Engines, client: EngineClient, route: Route, caller: Principal, keeper: Keeper | None = None
) -> AsyncIterator[HelperModel]:
    """Leases the model of `route` for `caller`, who is charged. Raises `EngineUnavailable`."""
    async with engines.endpoint(route.model, caller) as endpoint:
        tokens = TokenCounter(client, endpoint)
        window = await tokens.window() or UNKNOWN_WINDOW
        yield HelperModel(
            client,
            endpoint,
            tokens,
            window,
            route.requested,
            route.served,
            caller.tenant,
            caller,
            keeper,
            route.price,
        )
