"""`python -m tests.second_chance ARGUMENTS`: pytest, which repeats once, alone, what failed.

What passes then is flaky: the tier passes, and names it in the file `HEADRACE_FLAKY`, which the tiers of a run share.
More than `LIMIT` such tests in a run fail it, and so does a fifth failure of a tier, at once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tools.report import say

LIMIT = 2
AT_ONCE = 5


def main(arguments: Sequence[str]) -> int:
    """Runs pytest, and again for the tests that failed; returns its exit status."""
    noted = Path(os.environ.get("HEADRACE_FLAKY", os.devnull))
    with tempfile.TemporaryDirectory() as cache:
        status = _pytest(*arguments, f"--maxfail={AT_ONCE}", "-o", f"cache_dir={cache}")
        failed = _failed(Path(cache))
        before = noted.read_text().splitlines()
        # What is no test, as a module or a process of pytest-xdist, cannot be repeated by its name.
        if status != pytest.ExitCode.TESTS_FAILED or not failed or not all("::" in each for each in failed):
            return status
        if len(failed) + len(before) > LIMIT:
            say(f"not repeated: {len(failed)} tests failed, {len(before)} before; {LIMIT} are the limit of a run")
            return status
        say(f"repeats alone what failed: {', '.join(failed)}")
        again = ("--last-failed", "--last-failed-no-failures=none", "--numprocesses=0", "--maxfail=0")
        status = _pytest(*arguments, *again, "-o", f"cache_dir={cache}")
    if status == pytest.ExitCode.OK:
        with noted.open("a") as file:
            file.writelines(f"{each}\n" for each in failed)
        for each in failed:
            say(f"flaky: {each}")
    return status


def _pytest(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def _failed(cache: Path) -> Sequence[str]:
    path = cache / "v/cache/lastfailed"
    return sorted(json.loads(path.read_text())) if path.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
