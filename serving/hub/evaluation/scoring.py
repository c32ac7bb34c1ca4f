"""Scores a model on a suite, prompt by prompt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from serving.hub.evaluation.answers import Answer, Models, RunProgram
from serving.hub.evaluation.checks import passes
from serving.hub.evaluation.judging import Preference, prefer
from serving.protocol.suites import Suite


@dataclass(frozen=True, slots=True)
class Score:
    """One prompt: the candidate's answer, that of the model `against` which it is compared, and what they are worth.

    `preferred` is "first" for the candidate; None without a judgement.
    """

    number: int
    candidate: Answer
    against: Answer | None
    candidate_passes: bool | None
    against_passes: bool | None
    preferred: Preference | None

    @property
    def document(self) -> dict[str, Any]:
        """The score as JSON."""
        return asdict(self)


def score_of(document: Mapping[str, Any]) -> Score:
    """Returns a score from its JSON."""
    against = document["against"]
    return Score(
        **{
            **document,
            "candidate": Answer(**document["candidate"]),
            "against": Answer(**against) if against is not None else None,
        }
    )


async def score(
    suite: Suite, number: int, models: Models, run: RunProgram, candidate: str, against: str | None
) -> Score:
    """Answers a prompt with both models, checks the answers and compares them."""
    prompt = suite.prompts[number]

    async def answer(model: str) -> Answer:
        return await models.answer(model, prompt.chat, temperature=suite.temperature, max_tokens=suite.max_tokens)

    if against is None:
        mine, other = await answer(candidate), None
    else:
        mine, other = await asyncio.gather(answer(candidate), answer(against))
    passed = await passes(prompt.checks, mine, run)
    if other is None:
        return Score(number, mine, None, passed, None, None)
    passed_too = await passes(prompt.checks, other, run)
    preferred = None
    if prompt.group == "task":
        preferred = await prefer(suite.judge, models, prompt.chat, mine, other, (passed, passed_too))
    return Score(number, mine, other, passed, passed_too, preferred)
