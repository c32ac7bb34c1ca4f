"""The duration of each stage of a request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from serving.telemetry.catalogue import ELSEWHERE, STAGES

_KNOWN = frozenset(STAGES)


class Timeline:
    """Attributes the time of a request to stages without gaps, so that they add up to the total.

    Times are seconds of the monotonic clock.
    """

    __slots__ = ("_last", "marks", "stages", "start", "under_way")

    def __init__(self) -> None:
        self.start = self._last = time.perf_counter()
        self.stages: dict[str, float] = {}
        self.under_way = "respond"  # the stage of the time since the last mark, if the request is interrupted
        self.marks: list[tuple[str, float, float]] | None = None  # each stage with its begin and end, if traced

    def end_of(self, stage: str) -> None:
        """Attributes the time since the last mark to `stage`."""
        if stage not in _KNOWN:
            raise ValueError(f"unknown stage {stage}")
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._last
        if self.marks is not None:
            begin = self.marks.pop()[1] if self.marks and self.marks[-1][0] == stage else self._last
            self.marks.append((stage, begin, now))
        self._last = now
        self.under_way = "respond"

    @contextmanager
    def during(self, stage: str) -> Iterator[None]:
        """Attributes the time of the block to `stage`, also when it fails or is cancelled."""
        self.under_way = stage
        try:
            yield
        finally:
            self.end_of(stage)

    def cut(self) -> None:
        """Attributes the time since the last mark to the current stage."""
        self.end_of(self.under_way)

    @property
    def overhead(self) -> float:
        """Seconds spent by Headrace itself: those of all stages except `ELSEWHERE`."""
        return sum(seconds for stage, seconds in self.stages.items() if stage not in ELSEWHERE)

    @property
    def total(self) -> float:
        """Seconds from the start to the last mark."""
        return self._last - self.start
