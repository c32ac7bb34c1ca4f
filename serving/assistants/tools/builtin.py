"""The tools that are built in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from pydantic import Field

from serving.assistants.code_block import code_in
from serving.assistants.interpreter import Interpreter
from serving.assistants.tools.tool import Parameters, Tool, ToolError
from serving.config import ToolName
from serving.retrieval.types import Hit

Search = Callable[[str], Awaitable[Sequence[Hit]]]
"""From a query to the chunks that the caller may read, best first."""


class Expression(Parameters):
    """What the calculator takes."""

    expression: str = Field(min_length=1, max_length=1000, description="such as (12 + 3) * 4")


class Program(Parameters):
    """What Python takes."""

    program: str = Field(min_length=1, max_length=20_000, description="its last expression, or what it prints, counts")


class Query(Parameters):
    """What retrieval takes."""

    query: str = Field(min_length=1, max_length=2000, description="what to look for")


class Zone(Parameters):
    """What the clock takes."""

    zone: str = Field(default="UTC", max_length=64, description="such as Europe/Berlin")


def tools(names: Sequence[ToolName], *, interpreter: Interpreter, seconds: float, search: Search | None) -> list[Tool]:
    """Returns the tools of these names; programs run for `seconds` at most. `retrieval` needs `search`."""

    async def run(program: str) -> str:
        ran = await interpreter.run(program, seconds)
        if not ran.ok:
            raise ToolError(ran.text)
        return ran.text

    async def calculate(given: Expression) -> str:
        return await run(given.expression)

    async def python(given: Program) -> str:
        return await run(code_in(given.program) or given.program)

    async def retrieve(given: Query) -> str:
        if search is None:
            raise ToolError("there is nothing to search")
        hits = await search(given.query)
        return "\n\n".join(f"[{i}] {hit.title}: {hit.text}" for i, hit in enumerate(hits, 1)) or "Nothing was found."

    built_in = {
        "calculator": Tool("calculator", "computes an arithmetic expression.", Expression, calculate),
        "python": Tool("python", "runs a short Python program, without files and network.", Program, python),
        "retrieval": Tool("retrieval", "searches the documents.", Query, retrieve),
        "time": Tool("time", "tells the date and the time of a time zone.", Zone, tell_time),
    }
    return [built_in[name] for name in names]


async def tell_time(given: Zone) -> str:
    """Returns the time there in ISO 8601, with the day of the week."""
    try:
        zone = ZoneInfo(given.zone)
    except (LookupError, OSError, ValueError):  # also for names that are no key: paths, folders
        raise ToolError(f"there is no time zone {given.zone!r}") from None
    now = datetime.now(zone)
    return f"{now.isoformat(timespec='seconds')} {now:%A}"
