"""The sandbox against programs that try to get out of it, or to use it up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from serving.assistants.sandbox import pool as module
from serving.assistants.sandbox.pool import MAX_MESSAGE, SandboxFull, SandboxUnavailable, open_sandbox
from tests.unit.assistants.conftest import BRIEF, LIMITS
from tests.unit.assistants.sandbox.escapes import BOMBS, ESCAPES, HARMLESS
from tests.wait import eventually

SECRET = "tangerine"


@pytest.fixture(autouse=True, scope="module")
def planted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLANTED", SECRET)
        yield


def assert_bounded(outcome):
    assert len(outcome.value or "") <= LIMITS.value_characters
    assert len(outcome.printed.encode()) <= LIMITS.printed_bytes
    assert len(outcome.message) <= MAX_MESSAGE


def answered(outcome):
    """Whether a sandbox with little time answers; that a busy host took the time says nothing of its workers."""
    assert outcome.kind in ("value", "time"), outcome
    return outcome.value == "42"


async def answers(sandbox):
    async with asyncio.timeout(60):
        while not answered(await sandbox.run("6 * 7")):
            pass


def test_the_corpus_is_large():
    assert len(ESCAPES) >= 150
    assert len(BOMBS) + len(HARMLESS) >= 100


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_escapes(run, name):
    outcome = run(ESCAPES[name])
    assert_bounded(outcome)
    for loot in ("ESCAPED", "root:", SECRET, "subclasses", "<built-in", "/usr", "uid="):
        assert loot not in f"{outcome.value} {outcome.printed}"
    assert not Path("/tmp/escaped").exists()
    assert run("6 * 7").value == "42"


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_bounded(run_briefly, name):
    outcome = run_briefly(BOMBS[name])
    assert outcome.kind != "value", outcome
    assert outcome.kind != "crash", outcome
    assert_bounded(outcome)
    eventually(lambda: answered(run_briefly("6 * 7")))


@pytest.mark.parametrize("name", HARMLESS)
def test_dangerous_programs_are_stopped(run_briefly, name):
    assert_bounded(run_briefly(HARMLESS[name]))
    eventually(lambda: answered(run_briefly("6 * 7")))


@given(program=st.text(max_size=200))
def test_any_text_has_an_outcome(run_briefly, program):
    assert_bounded(run_briefly(program))


@pytest.mark.parametrize(
    ("program", "kind", "line"),
    [
        ("x = (", "syntax", 1),
        ("x = 1\n1 / 0", "runtime", 2),
        ("def solution():\n    return missing", "runtime", 2),
        ("raise TimeoutError('mine')", "time", 1),
        ("x = 'a' * 10**9", "memory", 1),
        ("\n\ndef f(): return f()\nf()", "recursion", 3),
    ],
)
def test_errors_contain_message_and_line(run, program, kind, line):
    outcome = run(program)
    assert (outcome.kind, outcome.line, outcome.value, outcome.answer) == (kind, line, None, None)
    assert outcome.message


@pytest.mark.parametrize(
    ("program", "outcome"),
    [("1 + 1", "ok"), ("1 +", "error"), ("1 / 0", "error"), ("while True: pass", "limit"), ("'x' * 10**9", "limit")],
)
def test_runs_are_counted(run, run_briefly, program, outcome):
    def counted():
        found = {o: REGISTRY.get_sample_value("headrace_sandbox_runs_total", {"outcome": o}) for o in outcomes}
        return {o: n for o, n in found.items() if n is not None}

    outcomes = ("ok", "error", "limit", "crashed")
    before = counted()
    (run_briefly if "while" in program else run)(program)
    assert counted() == before | {outcome: before[outcome] + 1}


def test_output_before_an_error_is_kept(run):
    outcome = run("print('first')\n1 / 0")
    assert (outcome.kind, outcome.printed) == ("runtime", "first\n")


def test_programs_share_nothing(run):
    assert run("planted = 'tangerine'\nimport json\njson.planted = 1").kind in ("value", "runtime")
    for _ in range(LIMITS.workers * 2):
        assert run("planted").kind == "runtime"
        assert run("import json\njson.planted").kind == "runtime"


@pytest.mark.parametrize(("size", "kind"), [(0, "value"), (1, "syntax")])
def test_a_program_may_have_the_maximum_length_only(run, size, kind):
    program = "1 #" + "é" * ((LIMITS.program_bytes - 3) // 2)
    program += "x" * (LIMITS.program_bytes - len(program.encode()) + size)
    assert run(program).kind == kind


@pytest.mark.parametrize(("size", "kind"), [(0, "value"), (1, "output")])
def test_an_answer_of_the_greatest_length(run, size, kind):
    assert run(f"'é' * {LIMITS.value_characters + size}").kind == kind


@pytest.mark.parametrize(("size", "kind"), [(0, "value"), (1, "output")])
def test_output_may_have_the_maximum_length_only(run, size, kind):
    outcome = run(f"print('x' * {LIMITS.printed_bytes + size}, end='')")
    assert outcome.kind == kind


async def test_no_more_wait_than_may():
    async with open_sandbox(replace(BRIEF, workers=1, waiting=2)) as sandbox:
        running = [asyncio.ensure_future(sandbox.run("while True: pass")) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(SandboxFull):
            await sandbox.run("1")
        assert [o.kind for o in await asyncio.gather(*running)] == ["time"] * 3
        await answers(sandbox)


async def test_a_caller_that_is_cancelled_frees_its_place():
    async with open_sandbox(replace(BRIEF, workers=1, waiting=1)) as sandbox:
        for _ in range(5):
            callers = [asyncio.ensure_future(sandbox.run("while True: pass")) for _ in range(2)]
            await asyncio.sleep(0)
            for caller in callers:
                caller.cancel()
            await asyncio.gather(*callers, return_exceptions=True)
        await answers(sandbox)


def workers():
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # one that is being replaced ends meanwhile
            if process.name() == "monty":
                found.append(process)
    return found


async def test_a_worker_that_is_killed_is_replaced():
    before = {p.pid for p in workers()}
    async with open_sandbox(replace(LIMITS, workers=1)) as sandbox:
        (worker,) = [p for p in workers() if p.pid not in before]
        running = asyncio.ensure_future(sandbox.run("while True: pass"))
        while worker.cpu_times().user < 0.1:
            await asyncio.sleep(0.01)
        os.kill(worker.pid, signal.SIGKILL)
        outcome = await running
        assert (outcome.kind, outcome.message) == ("crash", "the worker was ended")
        assert (await sandbox.run("6 * 7")).value == "42"
        (replacement,) = [p for p in workers() if p.pid not in before]
        assert replacement.pid != worker.pid
    assert {p.pid for p in workers()} <= before


async def test_workers_are_replaced_after_a_number_of_programs(monkeypatch):
    monkeypatch.setattr(module, "MAX_CHECKOUTS", 3)
    before = {p.pid for p in workers()}
    seen = set()
    async with open_sandbox(replace(LIMITS, workers=1)) as sandbox:
        for number in range(10):
            assert (await sandbox.run(str(number))).value == str(number)
            seen |= {p.pid for p in workers()} - before
    assert len(seen) >= 3


async def test_idle_workers_that_died_are_replaced():
    before = {p.pid for p in workers()}
    async with open_sandbox(replace(LIMITS, workers=2)) as sandbox:
        dead = [p for p in workers() if p.pid not in before]
        for worker in dead:
            worker.kill()
        kinds = [(await sandbox.run("1")).kind for _ in range(4)]
        assert set(kinds) <= {"crash", "value"}
        assert kinds[-1] == "value"


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "no program"])
async def test_a_worker_that_cannot_be_replaced(monkeypatch, caplog, script):
    launchers = []
    launcher = module._launcher

    @contextlib.contextmanager
    def remembered(limits):
        with launcher(limits) as path:
            launchers.append(Path(path))
            yield path

    monkeypatch.setattr(module, "_launcher", remembered)
    before = {p.pid for p in workers()}
    async with open_sandbox(replace(LIMITS, workers=1)) as sandbox:
        good = launchers[0].read_text()
        launchers[0].write_text(script)
        for worker in [p for p in workers() if p.pid not in before]:
            worker.kill()
        for _ in range(2):
            assert (await sandbox.run("1")).kind == "crash"
        assert "worker" in caplog.text
        launchers[0].write_text(good)
        assert (await sandbox.run("6 * 7")).value == "42"


ENDLESS = """
import asyncio, contextlib, psutil
from serving.assistants.sandbox.pool import SandboxLimits, open_sandbox
async def main():
    async with open_sandbox(SandboxLimits(time_s=5, workers=2)) as sandbox:
        found = set()
        while len(found) < 2:
            for process in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):
                    if process.name() == "monty":
                        found.add(process.pid)
            await asyncio.sleep(0.01)  # one that a busy host let die is replaced meanwhile
        print(*found, flush=True)
        await sandbox.run("while True: pass")
        await asyncio.Event().wait()
asyncio.run(main())
"""


def test_workers_end_with_their_gateway():
    with subprocess.Popen([sys.executable, "-c", ENDLESS], stdout=subprocess.PIPE, text=True) as gateway:
        pids = [int(pid) for pid in gateway.stdout.readline().split()]
        gateway.kill()
    assert len(pids) == 2
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in pids))


async def test_workers_run_inside_every_isolation_layer(tmp_path):
    before = {p.pid for p in workers()}
    async with open_sandbox(replace(LIMITS, workers=1)):
        (worker,) = [p for p in workers() if p.pid not in before]
        status = dict(line.split(":", 1) for line in Path(f"/proc/{worker.pid}/status").read_text().splitlines())
        assert (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) == ("1", "2")
        assert worker.environ() == {}
        assert worker.cwd() == "/"
        opened = {name.name: str(name.readlink()) for name in Path(f"/proc/{worker.pid}/fd").iterdir()}
        assert sorted(opened) == ["0", "1", "2"]
        assert opened["2"] == os.devnull
        assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert worker.rlimit(psutil.RLIMIT_AS)[1] < 1_000_000_000


async def test_without_the_interpreter_there_is_no_sandbox(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name, path: None)
    with pytest.raises(SandboxUnavailable, match="pydantic-monty-runtime"):
        async with open_sandbox():
            pass


async def test_the_sandbox_requires_its_isolation_layers(monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name, path: "/nowhere/monty")
    with pytest.raises(SandboxUnavailable, match="cannot be confined: /nowhere/monty cannot be run"):
        async with open_sandbox():
            pass


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Kills the first n workers as they start."""

    def kill(n):
        script = tmp_path / "python"
        starts = tmp_path / "starts"
        starts.touch()
        count = f"echo >> {starts}\n[ $(wc -l < {starts}) -gt {n} ] || kill -9 $$"
        script.write_text(f'#!/bin/sh\n{count}\nexec {sys.executable} "$@"\n')
        script.chmod(0o755)
        monkeypatch.setattr(module.sys, "executable", str(script))

    return kill


async def test_a_worker_that_is_killed_as_it_starts_does_not_make_the_sandbox_unavailable(killed):
    killed(2)
    async with open_sandbox(replace(LIMITS, workers=1)) as sandbox:
        assert (await sandbox.run("1")).value == "1"


async def test_a_sandbox_whose_workers_are_always_killed_says_by_what(killed):
    killed(1000)
    with pytest.raises(SandboxUnavailable, match="killed by signal 9"):
        async with open_sandbox():
            pass


async def test_a_kernel_without_landlock_is_reported(monkeypatch, caplog):
    monkeypatch.setattr(module, "landlock_abi", lambda: 0)
    async with open_sandbox(replace(LIMITS, workers=1)) as sandbox:
        assert (await sandbox.run("1")).value == "1"
    assert "no Landlock" in caplog.text
