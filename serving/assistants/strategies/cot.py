"""Chain of thought: the model writes down its reasoning before its answer.

Source: Wei et al. 2022, Chain-of-Thought Prompting Elicits Reasoning in Large Language Models; asked for without
examples as in Kojima et al. 2022, Large Language Models are Zero-Shot Reasoners.
"""

from __future__ import annotations

from serving.assistants.items import Message
from serving.assistants.strategies import answers, templates
from serving.assistants.strategies.model import ModelCompletion
from serving.assistants.strategies.work import StrategyAnswer, Work
from serving.config import Template


async def solve(work: Work, messages: list[Message], template: Template | None) -> StrategyAnswer:
    """Returns the answer at the end of the reasoning; without one, the whole text."""
    before = work.usage.completion_tokens
    (said, *_) = await work.generate(templates.ask(template or templates.COT, messages))
    await work.note("thought", said.text, tokens=work.usage.completion_tokens - before)
    return answer_of(said)


def answer_of(said: ModelCompletion) -> StrategyAnswer:
    """Returns the answer of one chain of thought."""
    found = answers.find(said.text, whole=said.finish_reason != "length")
    if found is None:
        return StrategyAnswer(said.text, None, said.finish_reason)
    return StrategyAnswer(found.text, found.value)
