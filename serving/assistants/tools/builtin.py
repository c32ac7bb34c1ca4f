"""The built-in tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import Field

from serving.assistants.sandbox.pool import ProgramOutcome, Sandbox, SandboxFull, SandboxOf, SandboxUnavailable
from serving.assistants.strategies.code_block import code_block
from serving.assistants.tools.calculator import MAX_CHARACTERS, calculate
from serving.assistants.tools.tool import Parameters, Tool, ToolError
from serving.retrieval.types import Hit

Search = Callable[[str], Awaitable[Sequence[Hit]]]
"""Searches for the chunks that the caller may read, best first."""


class Expression(Parameters):
    """Arguments of the calculator."""

    expression: str = Field(min_length=1, max_length=MAX_CHARACTERS, description="such as (12 + 3) * 4")


class Program(Parameters):
    """Arguments of Python."""

    program: str = Field(min_length=1, max_length=20_000, description="its last expression, or what it prints, counts")


class Query(Parameters):
    """Arguments of retrieval."""

    query: str = Field(min_length=1, max_length=2000, description="what to look for")


class Zone(Parameters):
    """Arguments of the clock."""

    zone: str = Field(default="UTC", max_length=64, description="such as Europe/Berlin")


def tools(names: Sequence[str], *, sandbox: SandboxOf, search: Search | None) -> list[Tool]:
    """Returns the tools of these names. `retrieval` needs `search`."""

    async def compute(given: Expression) -> str:
        return await _run(sandbox, lambda box: calculate(box, given.expression))

    async def python(given: Program) -> str:
        program = code_block(given.program) if "```" in given.program else given.program
        return await _run(sandbox, lambda box: box.run(program or ""))

    async def retrieve(given: Query) -> str:
        if search is None:
            raise ToolError("there is nothing to search")
        hits = await search(given.query)
        return "\n\n".join(f"[{i}] {hit.title}: {hit.text}" for i, hit in enumerate(hits, 1)) or "Nothing was found."

    built_in = {
        "calculator": Tool("calculator", "computes an arithmetic expression.", Expression, compute),
        "python": Tool("python", "runs a short Python program, without files and network.", Program, python),
        "retrieval": Tool("retrieval", "searches the documents.", Query, retrieve, untrusted=True),
        "time": Tool("time", "tells the date and the time of a time zone.", Zone, tell_time),
    }
    return [built_in[name] for name in names]


async def _run(sandbox: SandboxOf, call: Callable[[Sandbox], Awaitable[ProgramOutcome]]) -> str:
    try:
        outcome = await call(await sandbox())
    except (SandboxFull, SandboxUnavailable):
        raise ToolError("programs cannot be run here now") from None
    if outcome.kind != "value":
        raise ToolError(outcome.error)
    return "\n".join(filter(None, (outcome.printed.strip(), outcome.value)))


async def tell_time(given: Zone) -> str:
    """Returns the time in a time zone in ISO 8601, with the day of the week."""
    try:
        zone = ZoneInfo(given.zone)
    except (LookupError, OSError, ValueError):  # also raised for names that are not keys: paths, folders
        raise ToolError(f"there is no time zone {given.zone!r}") from None
    now = datetime.now(zone)
    return f"{now.isoformat(timespec='seconds')} {now:%A}"
