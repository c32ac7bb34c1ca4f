"""Runs a program that takes minutes, and says every few seconds how far it is, on a terminal and in a log."""

import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from tools.report import INTERVAL_S, say


class Output(Protocol):
    """What is understood of the lines that a program prints; as text, how far it is."""

    tail: deque[str]
    """The last lines, which say why a program failed."""

    def add(self, line: str) -> None:
        """Takes one line."""

    def __str__(self) -> str: ...


def run(
    name: str, command: Sequence[str], output: Output, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> int:
    """Runs a command, which is ended when this is interrupted, and returns its exit status.

    A child keeps what locks this process holds: if this process is killed, the next one waits for the child.

    Raises:
        OSError: there is no such program.
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


def _follow(process: subprocess.Popen[str], output: Output) -> None:
    for line in process.stdout or ():
        output.add(line.rstrip())


def _wait(process: subprocess.Popen[str], seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
