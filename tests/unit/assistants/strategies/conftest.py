"""The sandbox that programs are run in: one for all tests here."""

from __future__ import annotations

import asyncio

import pytest

from serving.assistants.sandbox.pool import SandboxLimits, open_sandbox


@pytest.fixture(scope="session")
def sandbox():
    """Gives the sandbox, as strategies ask for it."""
    with asyncio.Runner() as runner:
        opened = open_sandbox(SandboxLimits(time_s=60))
        box = runner.run(opened.__aenter__())

        async def give():
            return box

        yield give
        runner.run(opened.__aexit__(None, None, None))
