"""Runs a program that takes minutes, and prints its progress every few seconds."""

import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tools.report import INTERVAL_S, say


class ProgramOutput(Protocol):
    """Follows the lines that a program prints; `str()` gives its progress."""

    tail: deque[str]
    """The last lines, which explain a failure."""

    def add(self, line: str) -> None:
        """Counts one line of output."""

    def __str__(self) -> str: ...


def run(
    name: str,
    command: Sequence[str],
    output: ProgramOutput,
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Runs a command to its end, terminating it when interrupted, and returns its exit status.

    The child inherits this process's locks: if this process is killed, the next one waits for the child.

    Raises:
        OSError: the program does not exist.
    """
    start = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=False,
    ) as process:
        reader = threading.Thread(target=_follow, args=(process, output), daemon=True)
        reader.start()
        try:
            while (code := _wait(process, INTERVAL_S)) is None:
                say(f"{name}: {time.monotonic() - start:.0f} s, {output}")
        except BaseException:
            process.terminate()
            raise
        reader.join()
    return code


def _follow(process: subprocess.Popen[str], output: ProgramOutput) -> None:
    for line in process.stdout or ():
        output.add(line.rstrip())


def _wait(process: subprocess.Popen[str], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
