"""`make mutations`: mutation testing by a list. Each entry breaks one behaviour, and the test that it names must fail.

The entries are in mutations.yaml: a snippet of a file, its replacement in the mutant, and the test that kills it,
found by its file name anywhere under tests/. Mutation tools create thousands of mutants and run whole
suites on each; these are selected, so that the whole list takes minutes and shows, after a change of tests, that none
of them has stopped detecting what it should.

Tests run in copies of the checkout, uncommitted changes included, one for each job.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal, TypeVar

from tools.mutations.copies import Copy
from tools.mutations.entry import Mutation, Tier, find_test, misfit_reason, read_list, read_tests
from tools.report import ToolError, say

ROOT = Path(__file__).resolve().parents[2]
LIST = Path("tools/mutations/mutations.yaml")
CHECKED = 20
"""Most tests of a base check, so that it ends within its timeout on a busy host."""
TIERS: dict[Tier | None, tuple[str, ...]] = {None: (), "stack": (), "cluster": ("--target=cluster",)}
"""Additional arguments for pytest: entries of a tier bring up a stack, or use the test cluster."""

Result = Literal["killed", "survived", "stale", "broken", "invalid"]
NEXT: dict[Result, str] = {
    "survived": "the test passes with the mutation: fix the test, or name one that fails",
    "stale": "the code or the test was changed: update the entry",
    "broken": "the test fails without the mutation: run it by itself",
    "invalid": "the mutant cannot run at all, which any test would notice: write another `new`",
}
T = TypeVar("T")
_IMPORT = re.compile(r"(?:collection failure|(?:failed on setup with \")?(?:ImportError|ModuleNotFoundError))\b")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a mutation, its duration, and `why` unless it was killed."""

    mutation: Mutation
    result: Result
    seconds: float = 0
    why: str = ""


def failing_tests(copy: Copy, tests: Sequence[str], options: Sequence[str]) -> dict[str, str]:
    """Runs tests without a mutation and returns those that do not pass, with the reason."""
    cases = copy.run(dict.fromkeys(tests), options)
    wrong = {}
    for test in dict.fromkeys(tests):
        mine = [case for case in cases if case.test == test]
        if failed := next((case for case in mine if case.outcome != "passed"), None):
            wrong[test] = f"{failed.outcome}: {_line(failed.message)}"
        elif not mine:
            wrong[test] = "pytest did not run it"
    return wrong


def judge(copy: Copy, mutation: Mutation, test: str) -> Verdict:
    """Runs one test on a mutant and returns the verdict."""
    began = time.monotonic()
    with copy.mutated(mutation):
        cases = copy.run([test], ("-x", *TIERS[mutation.tier]))
    seconds = time.monotonic() - began
    failed = [case for case in cases if case.outcome == "failed"]
    if not cases or any(_IMPORT.match(case.message) for case in failed):
        return Verdict(
            mutation, "invalid", seconds, _line(failed[0].message) if failed else "pytest did not end as it should"
        )
    if failed:
        return Verdict(mutation, "killed", seconds)
    return Verdict(mutation, "survived", seconds)


def _line(message: str) -> str:
    return " ".join(message.split())[:160]


def run(root: Path, mutations: Sequence[Mutation], *, jobs: int = 1, base_check: bool = True) -> Iterator[Verdict]:
    """Yields the verdict on each mutation as soon as it is known."""
    fit = []
    tests_there = read_tests(root)
    for mutation in mutations:
        if why := misfit_reason(root, tests_there, mutation):
            yield Verdict(mutation, "stale", 0, why)
        else:
            fit.append((mutation, find_test(tests_there, mutation.test)))
    jobs = min(jobs, len(fit))
    if not fit:
        return
    with tempfile.TemporaryDirectory(prefix="headrace-mutations-") as scratch, ThreadPoolExecutor(jobs) as pool:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(Copy(root, Path(scratch) / str(number)))

        def with_copy(work: Callable[[Copy], T]) -> T:
            copy = copies.get()
            try:
                return work(copy)
            finally:
                copies.put(copy)

        wrong: dict[str, str] = {}
        if base_check:
            tests = sorted({test for _, test in fit})  # tests of one file share fixtures
            size = min(-(-len(tests) // jobs), CHECKED)
            parts = [tests[i : i + size] for i in range(0, len(tests), size)]
            options = TIERS[fit[0][0].tier]
            for found in pool.map(lambda part: with_copy(lambda copy: failing_tests(copy, part, options)), parts):
                wrong |= found
        yield from (Verdict(mutation, "broken", 0, wrong[test]) for mutation, test in fit if test in wrong)
        sound = [each for each in fit if each[1] not in wrong]
        yield from pool.map(lambda each: with_copy(lambda copy: judge(copy, *each)), sound)


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Runs the list and prints a table; returns 1 unless every mutant was killed."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutations", description=__doc__)
    parser.add_argument(
        "--only", metavar="GLOB", action="append", help="entries whose id, file or test matches; repeatable"
    )
    parser.add_argument(
        "--tier", choices=("stack", "cluster"), help="only entries that need a stack or the test cluster"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="parallel jobs (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="run nothing: list what each entry breaks and its test")
    parser.add_argument(
        "--base-check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run each test without a mutation first",
    )
    options = parser.parse_args(argv)
    try:
        chosen = [
            mutation
            for mutation in read_list(root / LIST)
            if mutation.tier == options.tier
            and any(fnmatch(name, glob) for name in _names(mutation) for glob in options.only or ["*"])
        ]
        if not chosen:
            raise ToolError("no mutation matches")
    except ToolError as error:
        say(f"error: {error}")
        return 1
    if options.list:
        for mutation in chosen:
            print(f"{mutation.id:<36} {mutation.breaks}\n{'':<36} {mutation.file}; {mutation.test}")
        return 0
    began = time.monotonic()
    bad = []
    for verdict in run(root, chosen, jobs=max(options.jobs, 1), base_check=options.base_check):
        mutation = verdict.mutation
        print(f"{verdict.result:<9} {verdict.seconds:>5.1f} s  {mutation.id:<36} {mutation.test}", flush=True)
        if verdict.result != "killed":
            bad.append(verdict)
    print(f"{len(chosen) - len(bad)} of {len(chosen)} mutants killed in {time.monotonic() - began:.0f} s")
    for verdict in bad:
        why = f" ({verdict.why})" if verdict.why else ""
        say(f"{verdict.result}: {verdict.mutation.id}: {verdict.mutation.breaks}{why}; {NEXT[verdict.result]}")
    return 1 if bad else 0


def _names(mutation: Mutation) -> tuple[str, ...]:
    return mutation.id, mutation.file, mutation.test


if __name__ == "__main__":
    sys.exit(main())
