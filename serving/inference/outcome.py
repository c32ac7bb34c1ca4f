"""The outcome of a generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serving.core.ids import new_id
from serving.engines.router import Route
from serving.inference.exchange import Exchange
from serving.metering.cost import Cost
from serving.store.captures import Ending


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one generation: `prompt` is the engine's request, `choices` its answer, complete or not.

    `ending` is `error` with the error's `code` when it failed, and `cancelled` when the caller disconnected. `last` is
    the remaining part for the caller if the answer is complete: all of it, or the rest of its stream. `route` is the
    resolved route, None if no model was asked.
    """

    id: str
    ending: Ending
    prompt: dict[str, Any]
    choices: list[dict[str, Any]]
    usage: dict[str, Any]
    code: str | None = None
    steps: Sequence[dict[str, Any]] = ()
    cost: Cost | None = None
    last: Callable[[], bytes] = bytes
    route: Route | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the engine completed its answer."""
        return self.ending not in ("error", "cancelled")


FINISH_REASONS = ("stop", "length", "content_filter", "tool_calls", "function_call")
"""OpenAI's reasons why a choice ends."""


class AnswerKeeper(Protocol):
    """Stores answers."""

    async def keep(self, outcome: Outcome) -> None:
        """Called before the caller gets the end; the caller gets an exception raised here instead."""
        ...


def blocked(x: Exchange) -> Outcome:
    """Returns the outcome of a request that a guardrail blocks before any model reads it."""
    report = x.guard.report if x.guard is not None else []
    said = {"role": "assistant", "content": "", "headrace": {"guardrails": report}}
    choice = {"index": 0, "message": said, "finish_reason": "content_filter"}
    x.answer_id = new_id("blocked")
    return Outcome(x.answer_id, "error", {}, [choice], {}, code="content_filter")


def ending(choices: Sequence[dict[str, Any]]) -> Ending:
    """Returns the ending of an answer, by the `finish_reason` of its first choice."""
    reason = choices[0].get("finish_reason") if choices else None
    return reason if reason in ("length", "content_filter", "tool_calls") else "completed"


def finish_reason(choices: Sequence[dict[str, Any]]) -> str | None:
    """Returns the `finish_reason` of an answer's first choice; None if it is none of `FINISH_REASONS`."""
    reason = choices[0].get("finish_reason") if choices else None
    return reason if reason in FINISH_REASONS else None
