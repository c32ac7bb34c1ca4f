"""Runs programs that models write, in isolated workers.

The first layer of isolation is the interpreter: Monty has no access to files, network or processes, and limits time,
memory, recursion and output. The second is its process, which `serving.core.confine` leaves nothing but its pipes.
Programs run concurrently in a few warm workers; one that crashes or hangs is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic_monty import Monty, MontyCrashedError, MontyRuntimeError, MontySyntaxError

from serving.assistants.sandbox.program import with_answer
from serving.core.confine import landlock_abi
from serving.telemetry import metrics

_log = logging.getLogger(__name__)

Kind = Literal["value", "syntax", "runtime", "time", "memory", "recursion", "output", "crash"]
"""How a program ended: with or without an answer, or by which error or limit."""

_COUNTED: dict[Kind, str] = {"value": "ok", "syntax": "error", "runtime": "error", "crash": "crashed"}
"""Metric label of each ending; all others are limits."""

_RUNS = {outcome: metrics.sandbox_runs.labels(outcome) for outcome in ("ok", "error", "limit", "crashed")}

MAX_MESSAGE = 500
"""Maximum number of characters of a stored error message."""

MAX_CHECKOUTS = 1000
"""Number of programs after which a worker is replaced, so that leftovers of a program do not stay for ever."""

_GRACE_S = 0.25
"""Time after the limit when a worker that did not stop by itself is killed."""

_PATIENCE_S = 5.0
"""Additional time that a worker may be silent: its clock does not run while it parses a program."""

_OWN_MEMORY = 512_000_000
"""Address space of a worker beyond the limit of programs: code, stacks and the allocator's reserve."""

_CHECK_S = 120.0
"""Timeout of the first worker's start: whoever starts a stack keeps all processors busy."""

_CHECKS = 3
"""Maximum number of such starts: a worker that a signal ended, as when memory is short, says nothing about the host."""

_START_S = 30.0
"""How long a program waits for a free worker."""


class SandboxFull(Exception):
    """Too many programs are waiting; the caller may try again."""


class SandboxUnavailable(Exception):
    """No worker can be started or confined; the message has the reason."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """Limits of one program, in seconds, bytes and characters, and of the number of running and waiting ones."""

    time_s: float = 2.0
    memory_bytes: int = 64_000_000
    recursion: int = 1000
    program_bytes: int = 65_536
    printed_bytes: int = 65_536
    value_characters: int = 8192
    workers: int = 2
    waiting: int = 64


@dataclass(frozen=True, slots=True)
class ProgramOutcome:
    """The outcome of a program: its answer as text, its output, and for an error its message and line."""

    kind: Kind
    value: str | None = None
    printed: str = ""
    message: str = ""
    line: int | None = None

    @property
    def answer(self) -> str | None:
        """The program's answer, or else its output; None after an error."""
        if self.kind != "value":
            return None
        return self.value if self.value is not None else self.printed.strip() or None

    @property
    def error(self) -> str:
        """The error in one line."""
        return f"{self.kind}: {self.message}{f' (line {self.line})' if self.line else ''}"


class _Printed:
    """Stores a program's output up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._parts: list[str] = []
        self.full = False

    def __call__(self, stream: str, text: str) -> None:
        self._left -= len(text.encode())
        if self._left < 0:
            self.full = True
            raise MemoryError("the output is too long")
        self._parts.append(text)

    @property
    def text(self) -> str:
        return "".join(self._parts)


class Sandbox:
    """Warm workers, created by `open_sandbox`."""

    def __init__(self, pool: Monty, limits: SandboxLimits) -> None:
        self._pool = pool
        self._limits = limits
        # Threads and the pool's blocking calls, not `AsyncMonty`: its threads outlive the interpreter, which then
        # aborts at exit (4 of 12 runs with pydantic-monty 1.4.0 on Python 3.11).
        self._threads = ThreadPoolExecutor(limits.workers, "sandbox")
        self._unfinished = 0

    async def run(self, program: str) -> ProgramOutcome:
        """Runs `program` until it ends or reaches its limits.

        When the caller is cancelled, a waiting program is dropped, and a running one continues within its limits.
        Raises `SandboxFull`.
        """
        outcome = await self._run_beside(program)
        _RUNS[_COUNTED.get(outcome.kind, "limit")].inc()
        return outcome

    async def warm(self) -> None:
        """Waits until all workers have started."""
        await asyncio.gather(*(self._run_beside("None") for _ in range(self._limits.workers)))

    async def _run_beside(self, program: str) -> ProgramOutcome:
        if self._unfinished >= self._limits.workers + self._limits.waiting:
            raise SandboxFull("too many programs are waiting to run")
        loop = asyncio.get_running_loop()
        self._unfinished += 1
        try:
            return await loop.run_in_executor(self._threads, self._run, program)
        finally:
            self._unfinished -= 1

    def close(self) -> None:
        """Waits for running programs, which takes little time, and drops waiting ones."""
        self._threads.shutdown(cancel_futures=True)

    def _run(self, program: str) -> ProgramOutcome:
        limits = self._limits
        if len(program) > limits.program_bytes or len(program.encode(errors="replace")) > limits.program_bytes:
            return ProgramOutcome("syntax", message=f"the program has more than {limits.program_bytes} bytes")
        printed = _Printed(limits.printed_bytes)
        try:
            with self._pool.checkout(
                script_name="program.py",
                limits={
                    "max_feed_duration_secs": limits.time_s,
                    "max_memory": limits.memory_bytes,
                    "max_recursion_depth": limits.recursion,
                    "max_suspensions": 100,
                },
                os_policy={"sleep": "zero"},
            ) as session:
                value = session.feed_run(with_answer(program, limits.value_characters + 1), print_callback=printed)
        except MontySyntaxError as e:
            return _failed("syntax", e, program, printed)
        except MontyRuntimeError as e:
            return _failed("output" if printed.full else _kind(e), e, program, printed)
        except MontyCrashedError as e:
            if not e.timed_out:
                _log.warning("a worker of the sandbox ended unexpectedly: %s", e)
            return ProgramOutcome(
                "time" if e.timed_out else "crash", printed=printed.text, message="the worker was ended"
            )
        except (RuntimeError, TimeoutError) as e:
            _log.error("no worker of the sandbox can be started: %s", e)
            return ProgramOutcome("crash", message="no worker could be started")
        # The appended code returns nothing but text: the program took over the worker.
        if value is not None and not isinstance(value, str):
            return ProgramOutcome("crash", message="the worker's answer is not valid")
        if value is not None and len(value) > limits.value_characters:
            return ProgramOutcome("output", printed=printed.text, message="the answer is too long")
        return ProgramOutcome("value", value, printed.text)


def _kind(error: MontyRuntimeError) -> Kind:
    """Returns the kind of an error. A program may raise these errors itself, which then count as the limit; this is
    harmless.
    """
    match error.exception():
        case TimeoutError():
            return "time"
        case RecursionError():
            return "recursion"
        case MemoryError():
            return "memory"
    return "runtime"


def _failed(kind: Kind, error: MontySyntaxError | MontyRuntimeError, program: str, printed: _Printed) -> ProgramOutcome:
    ours = program.count("\n") + 1  # later lines are those that Headrace appended
    lines = [frame.line if kind != "syntax" else min(frame.line, ours) for frame in error.traceback()]
    line = next((line for line in reversed(lines) if line <= ours), None)
    return ProgramOutcome(kind, None, printed.text, error.display("type-msg")[:MAX_MESSAGE], line)


@contextlib.asynccontextmanager
async def open_sandbox(limits: SandboxLimits | None = None) -> AsyncGenerator[Sandbox, None]:
    """Starts workers and terminates them at the end. Raises `SandboxUnavailable`."""
    limits = limits or SandboxLimits()
    with _launcher(limits) as launcher:
        await asyncio.to_thread(_check, launcher)
        pool = Monty(
            binary_path=launcher,
            min_processes=limits.workers,
            max_processes=limits.workers,
            checkout_timeout=_START_S,
            request_timeout=limits.time_s + _PATIENCE_S,
            max_checkouts_per_worker=MAX_CHECKOUTS,
            feed_duration_limit_grace=_GRACE_S,
        )
        try:
            await asyncio.to_thread(pool.__enter__)
        except Exception as e:
            raise SandboxUnavailable(f"the sandbox's workers do not start: {e}") from e
        sandbox = Sandbox(pool, limits)
        try:
            await sandbox.warm()
            yield sandbox
        finally:
            await asyncio.to_thread(sandbox.close)
            await asyncio.to_thread(pool.__exit__, None, None, None)


@contextlib.contextmanager
def _launcher(limits: SandboxLimits) -> Generator[str, None, None]:
    """Yields the path of a program that the pool starts as `monty`: a confined worker with its limits.

    It is in memory: folders for temporary files may forbid execution, and are cleaned up on some hosts.
    """
    monty = shutil.which("monty", path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', '')}")
    if monty is None:
        raise SandboxUnavailable("the program `monty` of pydantic-monty-runtime is not installed")
    memory = limits.memory_bytes + _OWN_MEMORY
    cpu = int(MAX_CHECKOUTS * (limits.time_s + _GRACE_S)) + 60
    root = shlex.quote(str(Path(__file__).parents[3]))
    command = [sys.executable, "-SBP", "-m", "serving.assistants.sandbox.worker", monty, str(memory), str(cpu)]
    with os.fdopen(os.memfd_create("monty"), "w") as script:
        script.write(f"#!/bin/sh\nPYTHONPATH={root} exec {shlex.join(command)}\n")
        script.flush()
        yield f"/proc/{os.getpid()}/fd/{script.fileno()}"


def _check(launcher: str) -> None:
    """Starts one worker that ends immediately, to find out why none can be started."""
    for _ in range(_CHECKS):
        try:
            done = subprocess.run(
                [launcher, "subprocess"], stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=_CHECK_S
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise SandboxUnavailable(f"the sandbox's workers do not start: {e}") from e
        if done.returncode >= 0:
            break
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-MAX_MESSAGE:]
        if done.returncode < 0:
            raise SandboxUnavailable(f"the sandbox's workers are killed by signal {-done.returncode}: {reason}")
        raise SandboxUnavailable(f"the sandbox's workers cannot be confined: {reason or done.returncode}")
    if not landlock_abi():
        _log.warning("this kernel has no Landlock: a worker that breaks out of the interpreter could read files")


SandboxOf = Callable[[], Awaitable[Sandbox]]
"""Returns the sandbox, which is opened on first use. Raises `SandboxUnavailable`."""
