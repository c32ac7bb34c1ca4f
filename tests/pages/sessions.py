"""A Python or a shell as a reader keeps it open: a program at a time, each with what those before it have left."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_TYPED = "--- typed ---"
_PYTHON = f"""
import sys, traceback
session = {{"__name__": "__main__"}}
for program in iter(sys.stdin.readline, ""):
    try:
        exec(eval(program), session)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        sys.exit(1)
    print({_TYPED!r}, flush=True)
"""


class _Session:
    """A program that reads programs and says when it is done with each."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path | None) -> None:
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _type(self, line: str) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        lines: list[str] = []
        for read in iter(self._process.stdout.readline, f"{_TYPED}\n"):
            assert read, "\n".join(["the program failed:", *lines])
            lines.append(read.rstrip("\n"))
        return lines

    def close(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()
        self._process.communicate()


class Python(_Session):
    """A Python; a program that raises ends it."""

    def __init__(self, environment: Mapping[str, str], folder: Path | None = None) -> None:
        super().__init__([sys.executable, "-c", _PYTHON], environment, folder)

    def type(self, program: str) -> list[str]:
        """Returns the lines that a program prints."""
        return self._type(repr(program) + "\n")


class Shell(_Session):
    """A bash that ends where a command fails, also one in a pipe, or a variable is not set; `begin` comes first."""

    def __init__(self, environment: Mapping[str, str], folder: Path | None = None, begin: str = "") -> None:
        super().__init__(["bash", "--noprofile", "--norc"], environment, folder)
        self.type(f"set -euo pipefail\n{begin}")

    def type(self, program: str) -> list[str]:
        """Returns the lines that commands print. They have no input: the shell's own is the commands to come."""
        *lines, left = self._type(f"eval {shlex.quote(program)} </dev/null; printf '\\n%s\\n' {shlex.quote(_TYPED)}\n")
        return [*lines, left] if left else lines  # what ends without the end of a line, as JSON does
