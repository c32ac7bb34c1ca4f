"""Where programs that models write are run, as strategies and tools see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of a program: its result, or what went wrong, as text."""

    ok: bool
    text: str


class Interpreter(Protocol):
    """Runs programs, apart from everything else."""

    async def run(self, program: str, seconds: float) -> Ran:
        """Returns what `solution()`, the last expression or what was printed gave, within `seconds`."""
        ...
