"""The sandbox against programs that try to get out of it, or to use it up."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.assistants import sandbox as module
from serving.assistants.sandbox import MAX_MESSAGE, Outcome, SandboxFull, SandboxLimits, SandboxUnavailable, open_sandbox
from tests.unit.assistants.escapes import BOMBS, ESCAPES, HARMLESS

LIMITS = SandboxLimits(time_s=0.3)
SECRET = "tangerine"


@pytest.fixture(scope="module")
def run():
    os.environ["PLANTED"] = SECRET
    with asyncio.Runner() as runner:
        opened = open_sandbox(LIMITS)
        sandbox = runner.run(opened.__aenter__())
        yield lambda program: runner.run(sandbox.run(program))
        runner.run(opened.__aexit__(None, None, None))
    del os.environ["PLANTED"]


def said(outcome):
    return f"{outcome.value} {outcome.printed} {outcome.message}"


def assert_bounded(outcome):
    assert len(outcome.value or "") <= LIMITS.value_characters
    assert len(outcome.printed.encode()) <= LIMITS.printed_bytes
    assert len(outcome.message) <= MAX_MESSAGE


def test_the_corpus_is_large():
    assert len(ESCAPES) >= 150
    assert len(BOMBS) + len(HARMLESS) >= 100


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_escapes(run, name):
    outcome = run(ESCAPES[name])
    assert_bounded(outcome)
    for loot in ("ESCAPED", "root:", SECRET, "subclasses", "<built-in", "/usr", "uid="):
        assert loot not in f"{outcome.value} {outcome.printed}"
    assert not Path("/tmp/escaped").exists()
    assert run("6 * 7").value == "42"


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_bounded(run, name):
    outcome = run(BOMBS[name])
    assert outcome.kind != "value", outcome
    assert outcome.kind != "crash", outcome
    assert_bounded(outcome)
    assert run("6 * 7").value == "42"


@pytest.mark.parametrize("name", HARMLESS)
def test_what_looks_dangerous_ends(run, name):
    assert_bounded(run(HARMLESS[name]))
    assert run("6 * 7").value == "42"
