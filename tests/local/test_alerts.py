"""Under a mixed load every panel, rule and alert has its data, and what goes wrong fires its alert."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from monitoring.shown import INJECTED
from tests import monitored
from tests.local.mixed import Mixed

LOAD_S = 30
"""Seconds that each of the two parts of the load lasts at least: an hour on the watcher's clock."""
WITHIN_S = 120
"""A slow host needs longer to ask as often as an alert wants."""


def wrong(watch):
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


@pytest.mark.timeout(600)
def test_a_mixed_load_is_seen_and_what_goes_wrong_fires_its_alert(stack, watch):
    since = time.time()
    with Mixed(stack) as load:
        time.sleep(LOAD_S)
        watch.fire(INJECTED["a load of questions without an answer"], since, WITHIN_S)
        load.turn()
        time.sleep(LOAD_S)
        mistakes = list(wrong(watch))
        watch.fire(INJECTED["a mixed load with callers' mistakes"], since, WITHIN_S)
    assert load.problems == []
    assert mistakes == []
    assert watch.broken() == []
