"""tests/endings.py: a run that is interrupted ends what its tests have started, however long that takes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.wait import eventually

ROOT = Path(__file__).parents[3]

TESTS = """
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def server():
    yield
    time.sleep(17)  # longer than pytest-xdist and execnet wait
    (HERE / "ended").touch()


def test_interrupted(server):
    (HERE / "began").touch()
    time.sleep(600)
"""

OPTIONS = ("-p", "tests.endings", "-p", "no:langsmith_plugin", "-p", "no:schemathesis", "--numprocesses=1")


def test_an_interruption_lets_fixtures_end(tmp_path: Path) -> None:
    (tmp_path / "test_slow.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *OPTIONS, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what runs these tests may ignore it
    )
    with process:
        try:
            eventually((tmp_path / "began").exists, "the test began", 300)
            os.killpg(process.pid, signal.SIGINT)
            printed, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == pytest.ExitCode.INTERRUPTED, printed
    assert (tmp_path / "ended").exists(), printed
    assert "waiting until the tests' processes have ended" in printed
