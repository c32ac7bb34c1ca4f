"""SIGTERM: a job is asked to end, so that it can go on later."""

from __future__ import annotations

import signal


class TuningInterrupted(Exception):
    """The job ended because it was asked to, after `step`."""

    def __init__(self, step: int) -> None:
        super().__init__(f"interrupted after step {step}")
        self.step = step


class Interruption:
    """Notes that SIGTERM arrived."""

    def __init__(self) -> None:
        self.asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def check(self, step: int = 0) -> None:
        """Raises `TuningInterrupted` when the job was asked to end."""
        if self.asked:
            raise TuningInterrupted(step)
