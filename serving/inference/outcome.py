"""How a generation ended, and what an engine was sent and said until then."""

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
    """How one generation ended: `prompt` is what the engine was sent, `choices` what it said, whole or not.

    `ending` is `error` with the error's `code` when it broke off, and `cancelled` when the caller hung up. `last` is
    what the caller is sent next, when it is whole: the answer, or the rest of its stream. `route` is what answered,
    None where nothing was asked.
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
        """Whether the engine said all that it had to say."""
        return self.ending not in ("error", "cancelled")


class AnswerKeeper(Protocol):
    """Keeps an answer."""

    async def keep(self, outcome: Outcome) -> None:
        """Is told of the end before the caller learns of it; what it raises the caller gets instead."""
        ...


def blocked(x: Exchange) -> Outcome:
    """Returns how a request ends that a guardrail blocks before any model reads it."""
    report = x.guard.report if x.guard is not None else []
    said = {"role": "assistant", "content": "", "headrace": {"guardrails": report}}
    choice = {"index": 0, "message": said, "finish_reason": "content_filter"}
    return Outcome(new_id("blocked"), "error", {}, [choice], {}, code="content_filter")


def ending(choices: Sequence[dict[str, Any]]) -> Ending:
    """Returns how an answer ended, by the `finish_reason` of its first choice."""
    reason = choices[0].get("finish_reason") if choices else None
    return reason if reason in ("length", "content_filter", "tool_calls") else "completed"
