"""Runs the program in an answer, to check its value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from serving.assistants.sandbox.pool import Sandbox
from serving.assistants.strategies.code_block import code_block


async def value_of_program(sandbox: Callable[[], Awaitable[Sandbox]], answer: str, then: str) -> str | None:
    """Returns the value of the last Python program in `answer` with `then` appended, or its output.

    None if there is no program, or if it ends with an error. Raises `SandboxFull` and `SandboxUnavailable`.
    """
    program = code_block(answer)
    if program is None:
        return None
    return (await (await sandbox()).run(f"{program}\n{then}")).answer
