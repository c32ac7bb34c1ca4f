""".ci/run: the order of its stages, what each failure ends it with, and what it leaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = """#!/bin/sh
echo "begins $*" >>log
echo "output of $*"
case "$*" in
  "$FAILS"*) exit 3 ;;
  *tests.prepare*) sleep "${PREPARES:-0}" ;;
esac
echo "ends $*" >>log
"""
RUN_TESTS = "RUN_TESTS=tests.second_chance"
HOUSE = "tests/unit/test_*.py tests/unit/docs tests/unit/infra/test_config.py tests/unit/monitoring/test_files.py"
HOUSE += " tests/unit/charts/test_values.py"
STAGES: Mapping[str, tuple[int, str]] = {
    "environment": (10, "venv"),
    "sweep": (11, "-m tests.sweep"),
    "style": (12, "style"),
    "collection": (13, "-m pytest tests --collect-only --quiet --quiet"),
    "types": (14, "types"),
    "house": (15, f"test-unit UNIT={HOUSE}"),
    "unit": (16, f"test-unit {RUN_TESTS} ARGS={HOUSE.replace('tests', '--ignore=tests')}"),
    "contract": (17, f"test-contract {RUN_TESTS}"),
    "stack": (18, f"test-stack {RUN_TESTS}"),
}
FULL: Mapping[str, tuple[int, str]] = {
    "long-contract": (20, f'test-contract {RUN_TESTS} ARGS=-m "full and not soak"'),
    "long-stack": (21, f'test-stack {RUN_TESTS} ARGS=-m "full and not soak"'),
    "cluster": (22, f"test-cluster {RUN_TESTS}"),
}


def run(
    checkout: Path, fails: str = "none", script: str = "run", **environment: str
) -> tuple[int, list[str], list[str]]:
    """Runs the script with a `make` and a `python` that do nothing: its status, its lines, and what ran."""
    for name in ("bin/make", ".venv/bin/python", "bin/sleep"):
        program = checkout / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(
            PROGRAM if name != "bin/sleep" else '#!/bin/sh\nexec /bin/sleep "$((${1:-0} > 100 ? $1 : 0))"\n'
        )
        program.chmod(0o755)
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    env = os.environ | {"PATH": f"{checkout}/bin:{os.environ['PATH']}", "FAILS": fails, "TMPDIR": str(checkout)}
    command = ["bash", checkout / ".ci" / script]
    result = subprocess.run(command, env=env | environment, capture_output=True, text=True, timeout=300)
    assert [path.name for path in checkout.iterdir() if path.name.startswith("tmp.")] == []
    return result.returncode, result.stdout.splitlines(), (checkout / "log").read_text().splitlines()


def test_ci_runs_the_stages_in_order_and_prints_the_time_of_each(tmp_path: Path) -> None:
    status, lines, log = run(tmp_path)
    assert status == 0, lines
    times = [match[1] for line in lines if (match := re.fullmatch(r" *\d+ s  (\w+)", line))]
    assert times == [*STAGES, *STAGES]  # as each ends, and all at the end
    assert re.fullmatch(r"== passed after \d+ s", lines[-1])
    stages = [line for line in log if "tests.prepare" not in line]
    assert stages == [f"{event} {what}" for _, what in STAGES.values() for event in ("begins", "ends")]


@pytest.mark.parametrize("stage", STAGES)
def test_a_failed_stage_ends_ci_with_a_status_of_its_own(stage: str, tmp_path: Path) -> None:
    number, command = STAGES[stage]
    status, lines, log = run(tmp_path, fails=command)
    assert status == number
    assert re.fullmatch(rf"== failed with status {number} in the stage {stage} after \d+ s", lines[-1])
    assert f"output of {command}" in lines
    assert f"ends {command}" not in log
    assert [line for line in log if line.startswith("begins") and "tests.prepare" not in line][
        -1
    ] == f"begins {command}"


def test_a_package_index_that_stumbles_is_asked_three_times(tmp_path: Path) -> None:
    _, _, log = run(tmp_path, fails="venv")
    assert log == ["begins venv"] * 3


def test_preparation_beside_a_failed_stage_is_ended_and_shown(tmp_path: Path) -> None:
    status, lines, log = run(tmp_path, fails="types", PREPARES="3600")
    assert status == STAGES["types"][0]
    assert "output of -m tests.prepare unit contract stack" in lines[lines.index("== beside") :]
    assert "ends -m tests.prepare unit contract stack" not in log


def test_the_files_of_the_house_exist() -> None:
    assert [each for each in HOUSE.split() if not list(ROOT.glob(each))] == []


def test_the_full_run_goes_on_with_what_takes_long_and_the_cluster(tmp_path: Path) -> None:
    status, _, log = run(tmp_path, script="full")
    assert status == 0
    assert log[-6:] == [f"{event} {what}" for _, what in FULL.values() for event in ("begins", "ends")]


@pytest.mark.parametrize("stage", ["unit", *FULL])
def test_the_full_run_fails_as_its_stage(stage: str, tmp_path: Path) -> None:
    number, command = (STAGES | FULL)[stage]
    status, _, log = run(tmp_path, fails=command, script="full")
    assert status == number
    assert log[-1] == f"begins {command}"
