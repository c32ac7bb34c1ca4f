"""The interface of models for strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.assistants.items import Message


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that a model read and wrote; `cached_tokens` of those read were in its cache."""

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
    """A tool call of a model; `arguments` is the text that it wrote, which should be JSON."""

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
    """The result of one request to a model."""

    completions: tuple[ModelCompletion, ...]
    usage: TokenUsage


class PromptTooLong(Exception):
    """The prompt does not fit into the model's context."""


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
        """Returns up to `n` completions: engines may return fewer.

        `max_tokens` limits each completion, in addition to the model's own limit; `tools` have OpenAI's format. Raises
        `PromptTooLong`.
        """
        ...
