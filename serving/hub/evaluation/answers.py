"""Answers to the prompts of a suite, and how they are obtained."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Messages = Sequence[Mapping[str, str]]

RunProgram = Callable[[str, str], Awaitable[str | None]]
"""Runs the Python program in an answer with appended code; returns its value as text, or None without one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, or the `error` code with which a request ended; seconds and tokens are None if unknown.

    `beside` are Headrace's own fields beside the message, such as citations.
    """

    text: str = ""
    finish_reason: str | None = None
    error: str | None = None
    seconds: float | None = None
    first_token_s: float | None = None
    tokens: int | None = None
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def truncated(self) -> bool:
        """Whether the answer ended at the maximum number of tokens."""
        return self.finish_reason == "length"

    @property
    def filtered(self) -> bool:
        """Whether guardrails blocked the prompt or the answer."""
        return self.finish_reason == "content_filter" or self.error == "content_filter"

    @property
    def failed(self) -> bool:
        """Whether there is no answer for another reason than guardrails."""
        return self.error is not None and not self.filtered


class Models(Protocol):
    """What can be asked: models, aliases and assistants by their names."""

    async def answer(self, model: str, messages: Messages, *, temperature: float, max_tokens: int) -> Answer:
        """Returns the answer to a chat. Errors of the request are part of the answer."""
        ...

    async def score(self, model: str, query: str, documents: Sequence[str]) -> Sequence[float] | None:
        """Returns a reranking model's scores of documents for a query, or None if it does not answer."""
        ...


def answered(document: Mapping[str, Any], *, seconds: float, first_token_s: float | None = None) -> Answer:
    """Returns a chat completion of the API as an answer."""
    choice = document["choices"][0]
    message = choice["message"]
    usage = document.get("usage") or {}
    tokens = usage.get("completion_tokens")
    return Answer(
        text=message.get("content") or "",
        finish_reason=choice.get("finish_reason"),
        seconds=seconds,
        first_token_s=first_token_s,
        tokens=tokens if isinstance(tokens, int) else None,
        beside=message.get("headrace") or {},
    )


def refused(document: Any) -> Answer:
    """Returns an error of the API as an answer."""
    error = document.get("error") if isinstance(document, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    return Answer(error=code if isinstance(code, str) and code else "error")
