"""tests.second_chance: what failed is repeated once, alone, and what passes then is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

FLAKY = """
from pathlib import Path

import pytest

def once(name):
    before = Path(__file__).with_name(name)
    if not before.exists():
        before.touch()
        raise AssertionError(f"{name} fails once")
"""


def run(folder: Path, tests: str) -> tuple[int, str, list[str]]:
    """Runs tests of a module of their own in two processes: its status, its output, and the tests that it noted."""
    (folder / "test_it.py").write_text(FLAKY + tests)
    (folder / "pytest.ini").write_text("[pytest]\n")
    noted = folder / "flaky"
    noted.touch()
    command = [sys.executable, "-m", "tests.second_chance", str(folder), "-c", str(folder / "pytest.ini")]
    command += ["--numprocesses=2", "--dist=loadfile"]
    env = os.environ | {"HEADRACE_FLAKY": str(noted)}
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
    return ended.returncode, ended.stdout + ended.stderr, noted.read_text().splitlines()


def test_tests_that_pass_are_run_once(tmp_path: Path) -> None:
    status, printed, noted = run(tmp_path, "def test_well(): pass\n")
    assert (status, noted) == (0, [])
    assert printed.count("test session starts") == 1


def test_a_test_that_passes_when_repeated_alone_is_named_and_the_run_passes(tmp_path: Path) -> None:
    status, printed, noted = run(tmp_path, "def test_well(): pass\ndef test_chance(): once('a')\n")
    assert (status, noted) == (0, ["test_it.py::test_chance"]), printed
    assert "flaky: test_it.py::test_chance" in printed


def test_a_test_that_fails_twice_fails_the_run(tmp_path: Path) -> None:
    status, printed, noted = run(tmp_path, "def test_chance(): once('a')\ndef test_wrong(): assert not 1\n")
    assert (status, noted) == (1, []), printed


def test_a_fixture_that_fails_at_its_end_is_repeated(tmp_path: Path) -> None:
    fixture = "@pytest.fixture\ndef ends():\n    yield\n    once('a')\n\ndef test_chance(ends): pass\n"
    status, printed, noted = run(tmp_path, fixture)
    assert (status, noted) == (0, ["test_it.py::test_chance"]), printed


def test_more_than_two_flaky_tests_fail_the_run(tmp_path: Path) -> None:
    tests = "".join(f"def test_{name}(): once('{name}')\n" for name in "abc")
    status, printed, noted = run(tmp_path, tests)
    assert (status, noted) == (1, []), printed
    assert "not repeated: 3 tests failed" in printed


def test_a_module_that_cannot_be_imported_fails_the_run(tmp_path: Path) -> None:
    status, printed, noted = run(tmp_path, "import nothing_of_this_name\n")
    assert (status != 0, noted) == (True, []), printed


def test_processes_that_collect_different_tests_fail_the_run(tmp_path: Path) -> None:
    tests = "import os\n@pytest.mark.parametrize('n', [os.getpid()])\ndef test_well(n): pass\n"
    status, printed, noted = run(tmp_path, tests)
    assert (status != 0, noted) == (True, []), printed
    assert printed.count("test session starts") == 1


def test_no_tests_fail_the_run(tmp_path: Path) -> None:
    status, printed, noted = run(tmp_path, "")
    assert (status, noted) == (5, []), printed
