"""Runs an evaluation against a stack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from typing import Any

import click
import httpx

from serving.assistants.answer_programs import value_of_program
from serving.assistants.sandbox.on_demand import SandboxOnDemand
from serving.assistants.sandbox.pool import SandboxUnavailable
from serving.cli.asked_models import AskedModels
from serving.hub.evaluation.card import card
from serving.hub.evaluation.judging import agreement
from serving.hub.evaluation.overlap import shared
from serving.hub.evaluation.scoring import Score, score
from serving.protocol.suites import Suite


async def run(
    client: httpx.AsyncClient,
    suite: Suite,
    model: str,
    against: str | None,
    training: Iterable[str],
    concurrency: int,
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """Returns the card of `model` on a suite; `training` are the texts that must not contain its prompts."""
    overlap = shared([prompt.chat[-1]["content"] for prompt in suite.prompts], training)
    sandbox = SandboxOnDemand()
    places = asyncio.Semaphore(concurrency)
    scores: list[Score] = []

    async def run_program(answer: str, then: str) -> str | None:
        try:
            return await value_of_program(sandbox.get, answer, then)
        except SandboxUnavailable as e:
            raise click.ClickException(f"programs cannot be run on this host: {e}") from None

    async with client, AsyncExitStack() as stack:
        stack.push_async_callback(sandbox.close)
        models = AskedModels(client)

        async def one(number: int) -> None:
            async with places:
                scores.append(await score(suite, number, models, run_program, model, against))
                progress(len(scores), len(suite.prompts))

        await asyncio.gather(*(one(number) for number in range(len(suite.prompts))))
        agreed = await agreement(suite.judge, models, suite.rated)
    scores.sort(key=lambda each: each.number)
    return card(suite, scores, model, against, agreement=agreed, shared=overlap)
