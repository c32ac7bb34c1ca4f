"""ReAct and self-consistency, each as the fallback of the other.

Source: Yao et al. 2023, ReAct, section 3.2: ReAct -> CoT-SC when ReAct gives no answer within its steps; CoT-SC ->
ReAct when the majority among n samples has fewer than n/2 votes.
"""

from __future__ import annotations

from serving.assistants.items import Message
from serving.assistants.strategies import react, self_consistency
from serving.assistants.strategies.self_consistency import Voted
from serving.assistants.strategies.work import StrategyAnswer, Work
from serving.assistants.tools.tool import Toolbox
from serving.config import ReactCotSc


async def solve(work: Work, messages: list[Message], settings: ReactCotSc, toolbox: Toolbox) -> StrategyAnswer | None:
    """Returns the answer; if both fail, that of most samples."""

    async def votes() -> Voted:
        return await self_consistency.solve(
            work, messages, settings.cot_template, settings.samples, settings.vote_temperature
        )

    if settings.first == "react":
        answer = await react.solve(work, messages, settings, toolbox)
        if answer is None:
            await work.note("switch", f"ReAct gave no answer in {settings.steps} steps: self-consistency answers")
            answer = (await votes()).answer
        return answer
    voted = await votes()
    if 2 * voted.count >= voted.samples:
        return voted.answer
    await work.note("switch", f"only {voted.count} of {voted.samples} samples agree: ReAct answers")
    return await react.solve(work, messages, settings, toolbox) or voted.answer
