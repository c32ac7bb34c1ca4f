"""Runs a strategy within its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from serving.assistants.items import Message
from serving.assistants.sandbox.pool import SandboxOf
from serving.assistants.strategies import cot, direct, pal, react, react_cot_sc, self_consistency
from serving.assistants.strategies.work import Exhausted, StrategyAnswer, Work
from serving.assistants.tools.tool import Toolbox
from serving.config import (
    ChainOfThought,
    Direct,
    ProgramAided,
    React,
    ReactCotSc,
    Reasoning,
    SelfConsistency,
    Strategy,
)


async def run(
    strategy: Strategy,
    work: Work,
    messages: list[Message],
    *,
    sandbox: SandboxOf,
    toolbox: Callable[[React | ReactCotSc], Toolbox],
) -> StrategyAnswer:
    """Returns the answer, with `finish_reason` "length" when a limit was reached: then it is the best one so far.

    Raises what the model raises, `PromptTooLong`, `SandboxFull` and `SandboxUnavailable`.
    """
    if isinstance(strategy, Direct):
        return await direct.solve(work, messages)
    scope = asyncio.timeout(strategy.seconds)
    try:
        async with scope:
            answer = await _solve(strategy, work, messages, sandbox, toolbox)
        reason = "the steps are used up"
    except Exhausted as e:
        answer, reason = None, str(e)
    except TimeoutError:
        if not scope.expired():
            raise
        answer, reason = None, f"the limit of {strategy.seconds:g} s is reached"
    if answer is not None:
        return answer
    await work.note("limit", reason)
    draft = work.draft
    return StrategyAnswer(draft.text if draft else "", draft.value if draft else None, "length")


async def _solve(
    strategy: Reasoning,
    work: Work,
    messages: list[Message],
    sandbox: SandboxOf,
    toolbox: Callable[[React | ReactCotSc], Toolbox],
) -> StrategyAnswer | None:
    match strategy:
        case ChainOfThought():
            return await cot.solve(work, messages, strategy.cot_template)
        case SelfConsistency():
            voted = await self_consistency.solve(
                work, messages, strategy.cot_template, strategy.samples, strategy.vote_temperature
            )
            return voted.answer
        case ProgramAided():
            return await pal.solve(work, messages, strategy, sandbox)
        case React():
            return await react.solve(work, messages, strategy, toolbox(strategy))
        case ReactCotSc():
            return await react_cot_sc.solve(work, messages, strategy, toolbox(strategy))
