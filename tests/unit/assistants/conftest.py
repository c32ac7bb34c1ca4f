"""Sandboxes with warm workers, shared by the tests that only ask what a program's outcome is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from serving.assistants.sandbox.pool import SandboxLimits, open_sandbox

# Time limits are of wall-clock time: programs that end by themselves get enough of it for a busy host.
LIMITS = SandboxLimits(time_s=60)
BRIEF = SandboxLimits(time_s=0.3)


@contextmanager
def driving(limits: SandboxLimits) -> Iterator:
    with asyncio.Runner() as runner:
        opened = open_sandbox(limits)
        sandbox = runner.run(opened.__aenter__())
        yield lambda ask: runner.run(ask(sandbox))
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def drive():
    """Runs what it is given, a function of the sandbox, to its end."""
    with driving(LIMITS) as drive:
        yield drive


@pytest.fixture(scope="session")
def run(drive):
    return lambda program: drive(lambda sandbox: sandbox.run(program))


@pytest.fixture(scope="session")
def run_briefly():
    """Runs a program that may have to be stopped."""
    with driving(BRIEF) as drive:
        yield lambda program: drive(lambda sandbox: sandbox.run(program))
