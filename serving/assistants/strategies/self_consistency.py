"""Self-consistency: samples several chains of thought, and returns their most frequent answer.

Source: Wang et al. 2023, Self-Consistency Improves Chain of Thought Reasoning in Language Models.
"""

from __future__ import annotations

from dataclasses import dataclass

from serving.assistants.items import Message
from serving.assistants.strategies import answers, templates
from serving.assistants.strategies.cot import answer_of
from serving.assistants.strategies.work import StrategyAnswer, Work
from serving.config import Template


@dataclass(frozen=True, slots=True)
class Voted:
    """The answer with the most votes, and its number of votes among the samples."""

    answer: StrategyAnswer
    count: int
    samples: int


async def solve(
    work: Work, messages: list[Message], template: Template | None, samples: int, temperature: float
) -> Voted:
    """Samples and counts. A tie goes to the answer that came first.

    A sample without an answer has no vote; when none has one, the first sample's text is the answer and has no value.
    Samples before a limit was reached count too: `work.draft`.
    """
    asked = templates.ask(template or templates.COT, messages)
    sampled: list[StrategyAnswer] = []
    while len(sampled) < samples:  # an engine may return fewer than requested
        before = work.usage.completion_tokens
        said = await work.generate(asked, n=samples - len(sampled), temperature=temperature)
        tokens = work.usage.completion_tokens - before
        for i, completion in enumerate(said):
            # Engines report the tokens of all samples of a request together.
            await work.note("thought", completion.text, tokens=tokens if i == 0 else 0)
            sampled.append(answer_of(completion))
        voted = _vote(sampled)
        work.draft = voted.answer
    await work.note("vote", f"{voted.answer.value}: {voted.count} of {samples}")
    return voted


def _vote(sampled: list[StrategyAnswer]) -> Voted:
    vote = answers.majority([answer.value for answer in sampled])
    if vote is None:
        return Voted(sampled[0], 0, len(sampled))
    chosen = next(answer for answer in sampled if answer.value == vote.value)
    return Voted(chosen, vote.count, len(sampled))
