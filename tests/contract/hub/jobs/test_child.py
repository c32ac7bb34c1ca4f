"""Children that do what a job's child may do, supervised as a job's are."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serving.hub.jobs import child
from serving.hub.jobs.child import Event, JobFolder, JobLimits
from serving.store.jobs.worker import PermanentError, Postponed
from serving.tuning.plan import INTERRUPTED, WHOLE, Base, Plan

ENOUGH = JobLimits(memory_bytes=2_000_000_000, seconds=600)

PRELUDE = f"""#!{sys.executable}
import json, os, signal, sys, time
from pathlib import Path
def say(**event): print(json.dumps(event), flush=True)
here = Path(sys.argv[-1]).parent
"""

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _watched_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "LOOK_S", 0.05)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    made = JobFolder(tmp_path / "job")
    made.begin()
    made.write(Plan(method="sft", base=Base("/base.gguf", "0" * 64), folder=str(made.path), bases=str(tmp_path)))
    return made


@pytest.fixture
def program(tmp_path: Path) -> Write:
    """Writes a program that is run in place of Python."""

    def write(code: str) -> Path:
        path = tmp_path / "program"
        path.write_text(PRELUDE + code)
        path.chmod(0o700)
        return path

    return write


async def run(program: Path, folder: JobFolder, limits: JobLimits = ENOUGH) -> list[Event]:
    heard: list[Event] = []

    async def hear(event: Event) -> None:
        heard.append(event)

    await child.run(program, folder, limits, hear)
    return heard


async def test_events_are_heard_and_logged(program: Write, folder: JobFolder) -> None:
    heard = await run(program('say(event="step", step=1, of=1)\nprint("no JSON")\nsay(event="done")'), folder)
    assert heard == [{"event": "step", "step": 1, "of": 1}, {"event": "done"}]
    assert folder.log.read_text().splitlines()[-1] == '{"event": "done"}'


BEGUN = '(here / "checkpoints" / "checkpoint-4").mkdir(parents=True)\n'
CHECKPOINT = f'{BEGUN}(here / "checkpoints" / "checkpoint-4" / "{WHOLE}").touch()\n'


@pytest.mark.parametrize(
    ("code", "limits", "raised", "message"),
    [
        ('say(event="failed", code="not_finite", message="loss")\nsys.exit(1)', ENOUGH, PermanentError, "loss"),
        ("raise OSError('the disk is full')", ENOUGH, PermanentError, "OSError: the disk is full"),
        (
            "for part in b'the disk ', b'is full':\n    os.write(2, part)\n    time.sleep(0.1)\nsys.exit(1)",
            ENOUGH,
            PermanentError,
            "the disk is full",
        ),
        ('say(event="done")\nsys.exit(3)', ENOUGH, PermanentError, "status 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ENOUGH, RuntimeError, "status -9"),
        (f"{BEGUN}os.kill(os.getpid(), signal.SIGKILL)", ENOUGH, RuntimeError, "status -9"),
        (f"{CHECKPOINT}os.kill(os.getpid(), signal.SIGKILL)", ENOUGH, Postponed, "postponed"),
        (f"sys.exit({INTERRUPTED})", ENOUGH, Postponed, "postponed"),
        ("time.sleep(600)", JobLimits(2_000_000_000, 0.2), PermanentError, "took more than"),
        ("held = b'x' * 300_000_000\ntime.sleep(600)", JobLimits(150_000_000, 600), PermanentError, r"needed 0\.\d GB"),
    ],
)
async def test_the_end_of_a_child_says_whether_to_try_again(
    code: str, limits: JobLimits, raised: type[Exception], message: str, program: Write, folder: JobFolder
) -> None:
    with pytest.raises(raised, match=message) as e:
        await run(program(code), folder, limits)
    assert type(e.value) is raised


async def test_the_time_of_all_attempts_counts(program: Write, folder: JobFolder) -> None:
    folder.spend(59.9)
    with pytest.raises(PermanentError, match="took more than"):
        await run(program("time.sleep(600)"), folder, JobLimits(2_000_000_000, 60))


async def test_a_cancelled_child_writes_a_checkpoint_first(program: Write, folder: JobFolder) -> None:
    code = """
def end(*_):
    (here / "checkpoints" / "checkpoint-7").mkdir(parents=True)
    (here / "checkpoints" / "checkpoint-7" / "whole.json").touch()
    say(event="interrupted", step=7)
    sys.exit(75)
signal.signal(signal.SIGTERM, end)
say(event="step", step=6, of=9)
time.sleep(600)
"""
    working = asyncio.Event()

    async def hear(event: Event) -> None:
        working.set()

    running = asyncio.create_task(child.run(program(code), folder, ENOUGH, hear))
    await working.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert folder.checkpoint == 7
    assert '"interrupted"' in folder.log.read_text()


async def test_a_child_that_does_not_end_is_killed(
    program: Write, folder: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PATIENCE_S", 0.1)
    pids: list[int] = []

    async def hear(event: Event) -> None:
        pids.append(event["pid"])
        raise LookupError("the listener fails")

    code = 'signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay(event="step", pid=os.getpid())\ntime.sleep(600)'
    with pytest.raises(LookupError):
        await child.run(program(code), folder, ENOUGH, hear)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_a_second_attempt_on_a_locked_folder_is_postponed(program: Write, folder: JobFolder) -> None:
    with folder.locked(), pytest.raises(Postponed):
        await run(program('say(event="done")'), folder)
    assert (await run(program('say(event="done")'), folder))[-1]["event"] == "done"


async def test_a_child_that_outlives_its_parent_keeps_the_lock(program: Write, folder: JobFolder) -> None:
    with folder.locked() as lock:
        orphan = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "input()"), pass_fds=[lock], stdin=subprocess.PIPE
        )
    with pytest.raises(Postponed):
        await run(program('say(event="done")'), folder)
    await orphan.communicate(b"\n")
    assert await run(program('say(event="done")'), folder)


def test_a_child_ends_with_its_parent() -> None:
    code = "import time, serving.tuning.progress as p; p.end_with_parent(); print('begun', flush=True); time.sleep(600)"
    process: Any = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with contextlib.closing(process.stdout):
        assert process.stdout.readline() == b"begun\n"
        process.stdin.close()
        assert process.wait(60) != -signal.SIGKILL
