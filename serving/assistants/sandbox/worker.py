"""A worker of the sandbox: `python -m serving.assistants.sandbox.worker <monty> <bytes of memory> <seconds>`.

It drops everything that the interpreter does not need, and then becomes the interpreter, which reads programs from
stdin. It imports only the standard library, since workers must start quickly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from serving.core.confine import LIBRARIES, ProcessLimits, Unconfined, become


def main(argv: Sequence[str]) -> int:
    """Becomes the interpreter; if that fails, returns an exit status and prints the reason."""
    monty, memory, cpu = argv
    errors = os.dup(2)  # not inherited: the interpreter cannot write to the log
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        os.closerange(errors + 1, os.sysconf("SC_OPEN_MAX"))
        os.chdir("/")
        become(Path(monty), ["subprocess"], ProcessLimits(int(memory), int(cpu), open_files=16), LIBRARIES)
    except Unconfined as e:
        os.write(errors, f"{e}\n".encode())
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
