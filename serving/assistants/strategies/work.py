"""The state of one answer in progress: its model, within limits, and its steps so far."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from serving.assistants.items import Message
from serving.assistants.strategies.model import Call, ModelCompletion, PromptTooLong, StrategyModel, TokenUsage
from serving.assistants.tools.tool import PendingCall, shorten, well_formed

MAX_TEXT = 4000
"""Maximum number of characters of a recorded step."""

StepKind = Literal[
    "thought", "action", "observation", "program", "result", "vote", "switch", "limit", "approval", "node"
]

STEP_KINDS: tuple[StepKind, ...] = get_args(StepKind)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a strategy; `name` is the tool's. `tokens` were written in it; `seconds` is the time since the previous
    one.
    """

    kind: StepKind
    text: str
    name: str = ""
    tokens: int = 0
    seconds: float = 0


@dataclass(frozen=True, slots=True)
class StrategyAnswer:
    """The result of a strategy: the text to show, and its normalised value.

    `pending` are calls that require approval: then the text says so.
    """

    text: str
    value: str | None
    finish_reason: str = "stop"
    pending: tuple[PendingCall, ...] = ()


class Exhausted(Exception):
    """A limit is reached. The message names it."""


OnStep = Callable[[Step], Awaitable[None]]


class Work:
    """Counts the tokens of `model`, and stops requests after `tokens`; `on_step` gets each step.

    `draft` is the best answer so far, which is used when a limit is reached.
    """

    def __init__(self, model: StrategyModel, tokens: int, on_step: OnStep | None = None) -> None:
        self._model = model
        self._tokens = tokens
        self._on_step = on_step
        self._last = time.perf_counter()
        self._answered = False
        self.steps: list[Step] = []
        self.usage = TokenUsage()
        self.draft: StrategyAnswer | None = None

    async def generate(
        self,
        messages: Sequence[Message],
        *,
        n: int = 1,
        temperature: float | None = None,
        stop: Sequence[str] = (),
        tools: Sequence[dict[str, Any]] = (),
    ) -> tuple[ModelCompletion, ...]:
        """Returns 1 to `n` completions.

        Raises `Exhausted` when no tokens are left or a grown prompt no longer fits into the model's context, and
        `PromptTooLong` when the first prompt does not.
        """
        left = self._tokens - self.usage.total
        if left < n:
            raise Exhausted(f"the limit of {self._tokens} tokens is reached")
        try:
            generation = await self._model.generate(
                messages, n=n, temperature=temperature, stop=stop, max_tokens=left // n, tools=tools
            )
        except PromptTooLong:
            if not self._answered:
                raise
            raise Exhausted("the model's context is full") from None
        self._answered = True
        self.usage += generation.usage
        return tuple(map(_well_formed, generation.completions[:n]))

    async def note(self, kind: StepKind, text: str, *, name: str = "", tokens: int = 0) -> None:
        """Records a step."""
        now = time.perf_counter()
        step = Step(kind, shorten(text, MAX_TEXT), name[:64], tokens, now - self._last)
        self._last = now
        self.steps.append(step)
        if self._on_step is not None:
            await self._on_step(step)


def _well_formed(said: ModelCompletion) -> ModelCompletion:
    """Returns a model's text in a form that can be sent: in JSON it can write surrogates, which UTF-8 cannot encode."""
    calls = tuple(Call(well_formed(c.id), well_formed(c.name), well_formed(c.arguments)) for c in said.calls)
    return ModelCompletion(well_formed(said.text), said.finish_reason, calls)
