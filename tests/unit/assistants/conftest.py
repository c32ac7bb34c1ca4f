"""A sandbox with warm workers, shared by the tests that only ask what a program's outcome is."""

from __future__ import annotations

import asyncio

import pytest

from serving.assistants.sandbox import SandboxLimits, open_sandbox

LIMITS = SandboxLimits(time_s=0.3)


@pytest.fixture(scope="session")
def drive():
    """Runs what it is given, a function of the sandbox, to its end."""
    with asyncio.Runner() as runner:
        opened = open_sandbox(LIMITS)
        sandbox = runner.run(opened.__aenter__())
        yield lambda ask: runner.run(ask(sandbox))
        runner.run(opened.__aexit__(None, None, None))


@pytest.fixture(scope="session")
def run(drive):
    return lambda program: drive(lambda sandbox: sandbox.run(program))
