"""Nothing of a program outlives the replica that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.wait import eventually

CHILD = [sys.executable, "-m", "serving.engines.child"]
HURRIED = "import sys; from serving.engines import child; child.PATIENCE_S = 0.5; sys.exit(child.run(sys.argv[1:]))"
"""Runs a program as `CHILD` does, and gives it less time to end by itself."""
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen(["sleep", "300"])
print(os.getpid(), child.pid, flush=True)
time.sleep(300)
"""


def start(*argv: str, child: list[str] = CHILD) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*child, *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def pids(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(word) for word in process.stdout.readline().split()]


def test_status_of_the_program_is_passed_on() -> None:
    assert start("sh", "-c", "exit 7").wait() == 7
    assert start("sh", "-c", "kill -9 $$").wait() == 128 + signal.SIGKILL


def test_a_missing_program_is_named() -> None:
    process = start("no-such-program")
    assert process.wait() == 127
    assert process.stderr is not None
    assert process.stderr.read() == "no-such-program cannot be started: No such file or directory\n"


def test_leftover_children_are_ended() -> None:
    process = start("sh", "-c", "sleep 300 & echo $!")
    [left] = pids(process)
    assert process.wait() == 0
    assert not alive(left)


def test_processes_in_sessions_of_their_own_are_ended() -> None:
    """Also where their parent has ended, and where they ignore the polite signal."""
    escapes = "trap '' TERM; setsid sh -c 'sleep 300 & echo $$ $!; wait' & sleep 0.2; exit 0"
    process = start("sh", "-c", escapes, child=[sys.executable, "-c", HURRIED])
    both = pids(process)
    assert process.wait() == 0
    assert not any(map(alive, both))


def test_sigterm_ends_the_program_and_its_children() -> None:
    process = start("sh", "-c", "sleep 300 & echo $$ $!; wait")
    both = pids(process)
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert not any(map(alive, both))


def test_closing_stdin_ends_programs_that_ignore_sigterm() -> None:
    process = start(sys.executable, "-c", STUBBORN, child=[sys.executable, "-c", HURRIED])
    both = pids(process)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait() == 128 + signal.SIGKILL
    assert not any(map(alive, both))


def test_killing_the_replica_ends_the_program() -> None:
    replica = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import subprocess, sys, time\n"
            f"p = subprocess.Popen([*{CHILD!r}, 'sh', '-c', 'sleep 300 & echo $$ $!; wait'],"
            " stdin=subprocess.PIPE, start_new_session=True)\n"
            "time.sleep(300)",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    both = pids(replica)
    assert all(map(alive, both))
    os.kill(replica.pid, signal.SIGKILL)
    replica.wait()
    eventually(lambda: not any(map(alive, both)), "both end", 30)


def test_the_program_requires_its_own_process_group() -> None:
    process = subprocess.run([*CHILD, "true"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert process.returncode == 1
    assert "in its own process group" in process.stderr
