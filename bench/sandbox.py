"""`python -m bench sandbox`: the time of a program in the sandbox, in Monty alone, and in a Python process."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psutil
from pydantic_monty import Monty

from bench import machine, results
from bench.processes import memory_usage
from bench.results import Goal
from serving.assistants.sandbox.pool import SandboxLimits, open_sandbox


@dataclass(frozen=True, slots=True)
class Program:
    """A program, the expression with its result for contenders that do not find it themselves, and the answer."""

    text: str
    asked: str
    answer: str


PROGRAMS = (
    Program(
        "def solution():\n"
        '    """Olivia has $23. She buys five bagels for $3 each. How much money is left?"""\n'
        "    money_initial = 23\n"
        "    bagels = 5\n"
        "    bagel_cost = 3\n"
        "    return money_initial - bagels * bagel_cost\n",
        "solution()",
        "8",
    ),
    Program(
        "answer = 0\nfor day in range(1, 366):\n    if day % 7 in (0, 6):\n        answer += 2 * day\n",
        "answer",
        "38480",
    ),
    Program(
        "from datetime import date, timedelta\n"
        "day = date(2026, 3, 1) - timedelta(days=1)\n"
        "answer = day.strftime('%m/%d/%Y')\n",
        "answer",
        "02/28/2026",
    ),
)
"""Programs as program-aided models write them: arithmetic, a loop, a date."""

PYTHON_SHARE = 50
"""Starting a Python process for each program is that much slower, so fewer programs are run by this factor."""

Run = Callable[[Program], Awaitable[str]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--programs", type=int, default=6000, help="programs that each contender runs")


def main(options: argparse.Namespace) -> None:
    """Runs every contender with 1 and with 8 programs at a time, and writes the figures."""
    facts = machine.facts({"pydantic-monty": importlib.metadata.version("pydantic-monty")})
    rows = asyncio.run(_rows(options.programs))
    p99, wrong = rows[0]["p99 ms"], sum(row["wrong"] for row in rows)
    goals = [
        Goal("a program in the sandbox, alone: p99 at most 5 ms", p99, p99 <= 5),
        Goal("wrong answers: 0", wrong, wrong == 0),
    ]
    settings = {"programs": f"{len(PROGRAMS)} in turn", "workers": str(SandboxLimits().workers)}
    results.write("sandbox", rows, goals, facts, settings=settings)


async def _rows(count: int) -> list[dict[str, Any]]:
    workers = SandboxLimits().workers
    async with open_sandbox() as sandbox:

        async def sandboxed(program: Program) -> str:
            return (await sandbox.run(program.text)).answer or ""

        rows = await _measure("the sandbox", sandboxed, count)
    with Monty(min_processes=workers, max_processes=workers) as pool:

        def feed(text: str) -> str:
            with pool.checkout() as session:
                return str(session.feed_run(text))

        async def monty(program: Program) -> str:
            return await asyncio.to_thread(feed, f"{program.text}\n{program.asked}")

        rows += await _measure("Monty alone", monty, count)
    return rows + await _measure("a Python for each program", _python, max(1, count // PYTHON_SHARE))


async def _python(program: Program) -> str:
    text = f"{program.text}\nprint({program.asked})"
    child = await asyncio.create_subprocess_exec(sys.executable, "-ISc", text, stdout=asyncio.subprocess.PIPE)
    return (await child.communicate())[0].decode().strip()


async def _measure(name: str, run: Run, count: int) -> list[dict[str, Any]]:
    for program in PROGRAMS * 4:  # start threads and workers
        await run(program)
    return [await _row(name, run, count, at_a_time) for at_a_time in (1, 8)]


async def _row(name: str, run: Run, count: int, at_a_time: int) -> dict[str, Any]:
    numbers = iter(range(count))
    seconds: list[float] = []
    wrong = 0

    async def client() -> None:
        nonlocal wrong
        for number in numbers:
            program = PROGRAMS[number % len(PROGRAMS)]
            start = time.perf_counter()
            answer = await run(program)
            seconds.append(time.perf_counter() - start)
            wrong += answer != program.answer

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(at_a_time)))
    elapsed = time.perf_counter() - start
    shares = statistics.quantiles(seconds, n=100, method="inclusive")
    workers = [p.pid for p in psutil.Process().children() if p.name() == "monty"]
    return {
        "in": name,
        "at a time": at_a_time,
        "programs": count,
        "programs/s": round(count / elapsed),
        "p50 ms": round(shares[49] * 1e3, 2),
        "p99 ms": round(shares[98] * 1e3, 2),
        "max ms": round(max(seconds) * 1e3, 1),
        "PSS MB per worker": round(memory_usage(workers).pss / 1e6 / len(workers), 1) if workers else "",
        "wrong": wrong,
    }
