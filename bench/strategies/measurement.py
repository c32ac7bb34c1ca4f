"""Strategies run on tasks, and the figures of their solutions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.load import quantile
from bench.strategies.tasks import Task
from serving.assistants.sandbox.pool import SandboxOf
from serving.assistants.strategies.model import PromptTooLong, StrategyModel, TokenUsage
from serving.assistants.strategies.run import run
from serving.assistants.strategies.work import Work
from serving.assistants.tools.builtin import tools
from serving.assistants.tools.tool import Toolbox
from serving.config import Direct, React, ReactCotSc, Strategy
from serving.protocol.errors import ApiError

TOKENS = 100_000_000
"""The token limit of `direct`, which has none of its own."""


@dataclass(frozen=True, slots=True)
class Prices:
    """US dollars per million tokens."""

    prompt: float = 0
    completion: float = 0

    def cost(self, usage: TokenUsage) -> float:
        """Returns the cost of tokens."""
        return (usage.prompt_tokens * self.prompt + usage.completion_tokens * self.completion) / 1e6


@dataclass(frozen=True, slots=True)
class Solution:
    """The outcome of a task; `value` is None without an answer, `error` is empty unless the model failed."""

    wanted: str
    value: str | None
    seconds: float
    usage: TokenUsage
    steps: tuple[str, ...]
    error: str = ""

    @property
    def is_correct(self) -> bool:
        """Whether the answer is correct."""
        return self.value == self.wanted


async def solve(strategy: Strategy, task: Task, model: StrategyModel, sandbox: SandboxOf) -> Solution:
    """Solves a task; an error of the model is a separate outcome, not a wrong answer."""

    def toolbox(settings: React | ReactCotSc) -> Toolbox:
        mine = tools(("calculator", "python"), sandbox=sandbox, search=None)
        return Toolbox(mine, settings.tool_calls, settings.tool_seconds, characters=settings.tool_characters)

    work = Work(model, TOKENS if isinstance(strategy, Direct) else strategy.tokens)
    begun = time.perf_counter()
    value, error = None, ""
    try:
        messages = [{"role": "user", "content": task.question}]
        value = (await run(strategy, work, messages, sandbox=sandbox, toolbox=toolbox)).value
    except (ApiError, PromptTooLong) as e:
        error = type(e).__name__ if isinstance(e, PromptTooLong) else e.code
    seconds = time.perf_counter() - begun
    return Solution(task.value, value, seconds, work.usage, tuple(step.kind for step in work.steps), error)


async def solve_all(
    strategy: Strategy,
    tasks: Sequence[Task],
    model: StrategyModel,
    sandbox: SandboxOf,
    on_solution: Callable[[Solution], None],
) -> list[Solution]:
    """Solves tasks one after the other, so that each duration is that of a single request."""
    found = []
    for task in tasks:
        found.append(await solve(strategy, task, model, sandbox))
        on_solution(found[-1])
    return found


def row(strategy: Strategy, found: Sequence[Solution], prices: Prices) -> dict[str, Any]:
    """Returns the figures of a strategy; without prices, no cost."""
    seconds = sorted(s.seconds for s in found)
    usage = sum((s.usage for s in found), TokenUsage())
    right = sum(s.is_correct for s in found)
    cost = {"$ per 1000 tasks": round(1000 * prices.cost(usage) / len(found), 4)} if prices != Prices() else {}
    return {
        "strategy": strategy.kind,
        "tasks": len(found),
        "right": right,
        "accuracy %": round(100 * right / len(found), 1),
        "no answer": sum(s.value is None and not s.error for s in found),
        "errors": sum(bool(s.error) for s in found),
        "p50 s": round(quantile(seconds, 0.5), 2),
        "p95 s": round(quantile(seconds, 0.95), 2),
        "prompt tokens per task": round(usage.prompt_tokens / len(found), 1),
        "completion tokens per task": round(usage.completion_tokens / len(found), 1),
        **cost,
    }
