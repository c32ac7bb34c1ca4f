""".ci/run: the order of its tiers, and how the failure of one ends it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

MAKE = """#!/bin/sh
echo "begins $*" >>log
echo "output of $*"
case "$*" in
  "$FAILS") exit 3 ;;
  test-cluster) sleep 1 ;;
esac
echo "ends $*" >>log
"""
TIERS = ("lint test-unit", "test-cluster", "test-stack", "test-contract")


def run(checkout: Path, fails: str = "") -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Runs the script with a `make` and a `python` that do nothing, and returns what ran, too."""
    for name, text in {"bin/make": MAKE, ".venv/bin/python": "#!/bin/sh\n"}.items():
        program = checkout / name
        program.parent.mkdir(parents=True)
        program.write_text(text)
        program.chmod(0o755)
    (checkout / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", checkout / ".ci")
    env = os.environ | {"PATH": f"{checkout}/bin:{os.environ['PATH']}", "FAILS": fails, "TMPDIR": str(checkout)}
    result = subprocess.run([checkout / ".ci/run"], env=env, capture_output=True, text=True, timeout=60)
    return result, (checkout / "log").read_text().splitlines()


def test_ci_runs_each_tier_and_prints_its_time(tmp_path: Path) -> None:
    result, log = run(tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = result.stdout.splitlines()
    times = {match[1] for line in lines if (match := re.fullmatch(r" *\d+ s  make (.*)", line))}
    assert times == {"venv", *TIERS}
    assert re.fullmatch(r"== all took \d+ s", lines[-1])
    assert {line for line in lines if line.startswith("output")} == {f"output of {each}" for each in ("venv", *TIERS)}
    at = {event: number for number, event in enumerate(log)}
    assert at["begins lint test-unit"] < at["ends test-cluster"] < at["begins test-stack"]
    assert at["ends test-cluster"] < at["begins test-contract"]


@pytest.mark.parametrize("tier", ["venv", *TIERS])
def test_a_tier_that_fails_ends_ci(tier: str, tmp_path: Path) -> None:
    result, log = run(tmp_path, fails=tier)
    assert result.returncode == 3
    assert re.search(rf"^== make {tier} failed after \d+ s$", result.stdout, re.MULTILINE)
    assert f"output of {tier}" in result.stdout
    assert f"ends {tier}" not in log
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tmp.")] == []
