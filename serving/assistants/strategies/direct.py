"""The model answers directly: the baseline of the other strategies."""

from __future__ import annotations

from serving.assistants.items import Message
from serving.assistants.strategies import answers
from serving.assistants.strategies.work import StrategyAnswer, Work


async def solve(work: Work, messages: list[Message]) -> StrategyAnswer:
    """Returns the model's text unchanged."""
    (said, *_) = await work.generate(messages)
    found = answers.find(said.text)
    return StrategyAnswer(said.text, found.value if found else None, said.finish_reason)
