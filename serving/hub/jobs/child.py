"""One attempt of a job: a child process with the training environment, its events, and its limits."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.core.uninterrupted import finish
from serving.store.jobs.worker import PermanentError, Postponed
from serving.tuning.plan import FAILED, INTERRUPTED, WHOLE, Plan

CHECKOUT = Path(__file__).parents[3]
"""The folder with the package `serving`, also in an image."""

PATIENCE_S = 120.0
"""Time that a child has for its last checkpoint: a step may take long."""

LOOK_S = 1.0
"""Interval of looks at the child's memory and time."""

MAX_LINE = 1 << 20
_LAST_BYTES = 1 << 16

Event = dict[str, Any]
Listener = Callable[[Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The limits of a job: of its memory, and of its running time in all attempts."""

    memory_bytes: int
    seconds: float


class JobFolder:
    """The files of one job, which its attempts share: plan, rows, checkpoints, results, and its log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / "plan.json"
        self.log = path / "log.jsonl"
        self.done = path / "done"
        """Exists once the child has succeeded: what is left is to register its results."""
        self.begun = path / "version"
        """Has the id of the version that is being registered."""
        self._spent = path / "spent"

    def begin(self) -> None:
        """Creates the folder anew."""
        self.remove()
        self.path.mkdir(parents=True, mode=0o700)

    def write(self, plan: Plan) -> None:
        """Writes the plan, with which the folder is complete."""
        partial = self.plan.with_suffix(".part")
        plan.write(partial)
        partial.replace(self.plan)

    @property
    def spent_s(self) -> float:
        """Running time of the attempts so far."""
        try:
            return float(self._spent.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0

    def spend(self, seconds: float) -> None:
        """Records the running time of the attempts so far."""
        partial = self._spent.with_suffix(".part")
        partial.write_text(f"{seconds:.1f}", encoding="ascii")
        partial.replace(self._spent)

    @property
    def checkpoint(self) -> int:
        """The step of the newest complete checkpoint; 0 if there is none."""
        whole = self.path.glob(f"checkpoints/checkpoint-[0-9]*/{WHOLE}")
        return max((int(mark.parent.name.rpartition("-")[2]) for mark in whole), default=0)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Locks the folder, and yields the lock's descriptor, which the child inherits: a child whose parent was killed
        may live for a moment. Raises `Postponed` while another attempt holds it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Postponed(2.0) from None
            yield descriptor
        finally:
            os.close(descriptor)


async def run(python: Path, folder: JobFolder, limits: JobLimits, listener: Listener) -> None:
    """Runs the folder's plan to its end; `listener` gets each event, which is in the folder's log already.

    However this is left, the child has ended: it is asked to write a checkpoint first. Raises `PermanentError` when
    another attempt would not help, `Postponed` when the child was killed after a new checkpoint, and `RuntimeError`
    when it was killed before.
    """
    begun_with = folder.checkpoint
    with folder.locked() as lock:
        process = await asyncio.create_subprocess_exec(
            str(python),
            *("-P", "-m", "serving.tuning", str(folder.plan)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder.path,
            env=_environment(folder),
            limit=MAX_LINE,
            pass_fds=(lock,),
            start_new_session=True,
        )
        watching = asyncio.create_task(_watch(process, folder, limits))
        errors = asyncio.create_task(_last_line(process))
        last: Event = {}
        try:
            async for event in _events(process, folder):
                last = event
                await listener(event)
            status = await process.wait()
        finally:
            exceeded = await finish(_end(process, folder, watching))
            said = await errors
    if exceeded is not None:
        raise exceeded
    if status == 0 and last.get("event") == "done":
        return
    if status == FAILED and last.get("event") == "failed":
        raise PermanentError(str(last.get("code")), str(last.get("message")))
    if status == INTERRUPTED or folder.checkpoint > begun_with:
        raise Postponed(1.0)
    reason = f"the child ended with status {status}: {said or 'it said nothing'}"
    if status > 0:  # its own fault, which another attempt would repeat
        raise PermanentError("tuning_failed", reason)
    raise RuntimeError(reason)


def _environment(folder: JobFolder) -> Mapping[str, str]:
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "LANG": "C.UTF-8",
        "HOME": str(folder.path),
        "HF_HOME": str(folder.path / "libraries"),
        "PYTHONPATH": str(CHECKOUT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        **{name: os.environ[name] for name in ("CUDA_VISIBLE_DEVICES", "TMPDIR") if name in os.environ},
    }


async def _events(process: asyncio.subprocess.Process, folder: JobFolder) -> AsyncIterator[Event]:
    """Yields the child's events, and appends them to the log."""
    assert process.stdout is not None
    with folder.log.open("ab") as log:
        async for line in process.stdout:
            try:
                event = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if not isinstance(event, dict):
                continue
            log.write(line)
            log.flush()
            yield event


async def _last_line(process: asyncio.subprocess.Process) -> str:
    """Returns the last line of the child's standard error, once it has ended."""
    assert process.stderr is not None
    end = b""  # split once it is complete: a line may come in several reads
    while data := await process.stderr.read(_LAST_BYTES):
        end = (end + data)[-_LAST_BYTES:]
    return end.decode(errors="replace").strip().rpartition("\n")[2].strip()


async def _watch(process: asyncio.subprocess.Process, folder: JobFolder, limits: JobLimits) -> PermanentError:
    """Kills the child when it exceeds a limit, and returns the limit."""
    loop = asyncio.get_running_loop()
    began, before = loop.time(), folder.spent_s
    with contextlib.suppress(OSError):
        # Of all processes of the host, the kernel kills this one first when memory runs out.
        Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000", encoding="ascii")
    while True:
        await asyncio.sleep(LOOK_S)
        spent = before + loop.time() - began
        with contextlib.suppress(OSError):  # a full disk; the limits count all the same
            folder.spend(spent)
        used = _memory(process.pid)
        if spent <= limits.seconds and used <= limits.memory_bytes:
            continue
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if spent > limits.seconds:
            return PermanentError("out_of_time", f"the job took more than {limits.seconds / 3600:g} hours")
        message = f"the job needed {used / 1e9:.1f} GB of memory, and may use {limits.memory_bytes / 1e9:.1f} GB"
        return PermanentError("out_of_memory", f"{message}: use a smaller batch or shorter rows")


def _memory(pid: int) -> int:
    """Returns a process's own memory in bytes, without the pages of files; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


async def _end(
    process: asyncio.subprocess.Process, folder: JobFolder, watching: asyncio.Task[PermanentError]
) -> PermanentError | None:
    """Ends the child and the watch, and returns the limit that the child exceeded, if any."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        async for _ in _events(process, folder):
            pass
    exceeded = watching.result() if watching.done() else None
    watching.cancel()
    return exceeded
