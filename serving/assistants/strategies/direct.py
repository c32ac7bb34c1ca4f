"""The model answers at once: what the other strategies are compared with."""

from __future__ import annotations

from serving.assistants.items import Message
from serving.assistants.strategies import answers
from serving.assistants.strategies.work import StrategyAnswer, Work


async def solve(work: Work, messages: list[Message]) -> StrategyAnswer:
    """Returns the model's text as it is."""
    (said, *_) = await work.generate(messages)
    found = answers.find(said.text)
    return StrategyAnswer(said.text, found.value if found else None, said.finish_reason)
