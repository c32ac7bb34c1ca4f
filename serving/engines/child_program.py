"""A program that an engine's replica runs as its child, through `serving.engines.child`."""

from __future__ import annotations

import collections
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

LAST_LINES = 20
"""Number of lines of a program's log that errors quote."""


def inherited_environment() -> dict[str, str]:
    """Returns this process's variables without those of its replica: an engine would write its metrics among the
    replica's, and must not use the node's Ray.
    """
    return {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR" and not k.startswith("RAY_")}


class ChildProgram:
    """A running program, which ends with the replica. Its output is written to the replica's log, prefixed with
    `[LABEL]`.
    """

    def __init__(self, name: str, label: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """`name` is the subject of the message that reports how the program ended."""
        self.name = name
        self._label = label
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.engines.child", *argv],
            env=dict(environment),
            stdin=subprocess.PIPE,  # kept open as long as this process lives: see serving.engines.child
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._relay_output, name=f"log of {label}", daemon=True)
        self._reader.start()

    def _relay_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if text := line.rstrip():
                self._last.append(text)
                self._read_line(text)
                print(f"[{self._label}] {text}", file=sys.stderr, flush=True)

    def _read_line(self, text: str) -> None:
        """Is called for each line of the program's output, in another thread."""

    @property
    def last_lines(self) -> list[str]:
        """Returns the last lines of the program's output."""
        return list(self._last)

    def ended(self) -> str:
        """Returns how the program has ended, with the last lines of its output; empty while it runs."""
        status = self._process.poll()
        if status is None:
            return ""
        self._reader.join(5)
        how = f"by signal {status - 128}" if status > 128 else f"with status {status}"
        return f"{self.name} ended {how}; its last output:\n" + "\n".join(self._last)

    def close(self) -> None:
        """Terminates the program with all processes that it started, and waits for them."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
