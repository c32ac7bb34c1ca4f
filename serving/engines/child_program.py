"""A program that the replica of an engine runs as its child, through `serving.engines.child`."""

from __future__ import annotations

import collections
import contextlib
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

LAST_LINES = 20
"""Lines of a program's log that an error repeats."""


class ChildProgram:
    """A running program. Its log goes to ours, line by line, behind `[LABEL]`. It ends with the replica."""

    def __init__(self, name: str, label: str, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """`name` begins the sentence that says how the program ended."""
        self.name = name
        self._label = label
        self._last: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "serving.engines.child", *argv],
            env=dict(environment),
            stdin=subprocess.PIPE,  # held open as long as we live: see serving.engines.child
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
                print(f"[{self._label}] {text}", file=sys.stderr, flush=True)

    @property
    def last_lines(self) -> list[str]:
        """What the program said last."""
        return list(self._last)

    def ended(self) -> str:
        """Returns why the program has ended, with the last lines of its log; empty while it runs."""
        status = self._process.poll()
        if status is None:
            return ""
        self._reader.join(5)
        how = f"by signal {status - 128}" if status > 128 else f"with status {status}"
        return f"{self.name} ended {how}; it said last:\n" + "\n".join(self._last)

    def close(self) -> None:
        """Ends the program with all that it started, and waits for it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
