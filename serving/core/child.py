"""Questions to child processes, so that a failure or exploit while answering can harm only the child.

The child is a module of this checkout. It gets the question on stdin and an empty environment, writes its answer to
stdout, and is killed when it takes too long or writes too much. It confines itself: see `serving.core.confine`.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

_LOOK_S = 0.1
"""Interval in seconds of checks whether the answer is still wanted."""


class Overrun(Exception):
    """A child took too long or wrote too much, and was killed."""


def ask(
    module: str,
    question: bytes,
    *,
    bound: int,
    deadline: float,
    options: str = "-P",
    wanted: Callable[[], bool] = lambda: True,
) -> bytes:
    """Returns the output of `python <options> -m <module>` until its end, which may be a crash.

    Raises `Overrun` after `bound` bytes, at the `deadline` of the monotonic clock, and when the answer is no longer
    `wanted`.
    """
    with question_file(question) as stdin:
        child = begin(module, options=options, stdin=stdin.fileno(), stdout=subprocess.PIPE)
        assert child.stdout is not None
        try:
            return read_answer(child.stdout.fileno(), bound, deadline, wanted)
        finally:
            child.kill()
            child.wait()
            child.stdout.close()


def begin(
    module: str, arguments: Sequence[str] = (), *, options: str, stdin: int, stdout: int
) -> subprocess.Popen[bytes]:
    """Starts `python <options> -m <module> <arguments>` with an empty environment."""
    return subprocess.Popen(
        [sys.executable, options, "-m", module, *arguments],
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.DEVNULL,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
    )


@contextmanager
def question_file(question: bytes) -> Iterator[IO[bytes]]:
    """Returns a file rather than a pipe, which a child that dies early could block."""
    with tempfile.TemporaryFile() as file:
        file.write(question)
        file.seek(0)
        yield file


def read_answer(descriptor: int, bound: int, deadline: float, wanted: Callable[[], bool]) -> bytes:
    """Returns a child's output until its end. Raises `Overrun` as `ask` does."""
    output = bytearray()
    with selectors.DefaultSelector() as selector:  # select() itself does not support descriptors above 1023
        selector.register(descriptor, selectors.EVENT_READ)
        while len(output) <= bound and (left := deadline - time.monotonic()) > 0 and wanted():
            if selector.select(min(left, _LOOK_S)):
                data = os.read(descriptor, 1 << 20)
                if not data:
                    return bytes(output)
                output += data
    raise Overrun
