"""The verdict on a mixed load: whether every panel, rule and alert has data, and which alerts fired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from monitoring.alert_evidence import INJECTED
from tests.stack.mixed import Mixed
from tests.stack.watch import Watch
from tests.stacks import monitored
from tests.stacks.stack import Stack

LOAD_S = 30
"""Seconds that each of the two parts of the load lasts at least: an hour on the watcher's clock."""
WITHIN_S = 180
"""A slow host, on which other tests go on, needs longer to ask as often as an alert wants."""


@dataclass(frozen=True)
class Verdict:
    """The faults, one line each; all expected alerts have fired."""

    problems: list[str]
    """Of the load: what its callers did not expect."""
    mistakes: list[str]
    """Of what Prometheus was asked."""
    broken: list[str]
    """Of the rules."""


def verdict(stack: Stack, watch: Watch) -> Verdict:
    """Loads the stack for some minutes. Raises `AssertionError` when an alert does not fire."""
    since = time.time()
    with Mixed(stack) as load:
        time.sleep(LOAD_S)
        watch.fire(INJECTED["a load of unanswerable questions"], since, WITHIN_S)
        load.turn()
        time.sleep(LOAD_S)
        mistakes = list(_mistakes(watch))
        watch.fire(INJECTED["a mixed load with invalid requests"], since, WITHIN_S)
    return Verdict(load.problems, mistakes, watch.broken())


def _mistakes(watch: Watch) -> Iterator[str]:
    """What had to have an answer and has none, and panels with values that their unit does not have; by who asks.

    A program that was scraped too late, once, has no answer for a moment.
    """
    asked = [
        question
        for questions in (monitored.panels(), monitored.compared(), monitored.recorded())
        for question in questions
        if not monitored.lacking(question.expression, "local")
    ]
    assert len(asked) > 200
    until = time.monotonic() + WITHIN_S
    with ThreadPoolExecutor(8) as pool:
        while asked and time.monotonic() < until:
            left = []
            answers = pool.map(lambda question: monitored.ask(watch.url, question.expression), asked)
            for question, samples in zip(asked, answers, strict=True):
                if not monitored.finite(samples):
                    left.append(question)
                if odd := monitored.implausible(question, samples):
                    yield f"{question.asker}: {odd} in {question.unit}: {question.expression}"
            asked = left
    yield from (f"{question.asker}: {question.expression}" for question in asked)
