"""A model as strategies see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.assistants.items import Message


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that a model read and wrote; `cached_tokens` of those that it read stood in its cache."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that a model asked for; `arguments` is what it wrote, JSON if all is well."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelCompletion:
    """One answer of a model; `finish_reason` as in OpenAI's API."""

    text: str
    finish_reason: str = "stop"
    calls: tuple[Call, ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """What one request to a model gave."""

    completions: tuple[ModelCompletion, ...]
    usage: TokenUsage


class PromptTooLong(Exception):
    """The prompt does not fit the model's context."""


class StrategyModel(Protocol):
    """Anything that answers a chat."""

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
        """Returns up to `n` completions: engines may give fewer.

        `max_tokens` is of each completion and a bound beside the model's own; `tools` are in OpenAI's shape.
        Raises `PromptTooLong`.
        """
        ...
