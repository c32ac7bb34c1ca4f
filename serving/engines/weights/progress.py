"""How much of a model's weights has been fetched: as metrics, which `up` shows, and as lines of the replica's log."""

from __future__ import annotations

import sys
import threading
import time

from serving.telemetry import metrics

EVERY_S = 10
"""Time between two lines of the log."""
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


class FetchProgress:
    """The bytes that are there, of all that are needed. Several threads may add to them."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._size = metrics.weights_bytes.labels(model)
        self._there = metrics.weights_fetched_bytes.labels(model)
        self._lock = threading.Lock()
        self._total = self._done = self._fetched = 0
        self._started = self._said = time.monotonic()

    def begin(self, total: int, there: int) -> None:
        """Begins to fetch what is missing of `total` bytes, of which the folder has some already."""
        self._total, self._done, self._fetched = total, there, 0
        self._started = self._said = time.monotonic()
        self._size.set(total)
        self._there.set(there)
        if there < total:
            self.say(f"fetching {size(total - there)} of {size(total)}")

    def add(self, number: int) -> None:
        """Counts bytes that have been fetched; a negative number those that are to be fetched again."""
        with self._lock:
            self._done += number
            self._fetched += max(number, 0)
            self._there.set(self._done)
            now = time.monotonic()
            if due := now - self._said >= EVERY_S:
                self._said = now
            speed = self._fetched / max(now - self._started, 1e-9)
        if due:
            percent = 100 * self._done // max(self._total, 1)
            self.say(f"{size(self._done)} of {size(self._total)} ({percent} %), {size(speed)} per second")

    def say(self, text: str) -> None:
        """Writes a line to the replica's log."""
        print(f"[weights of {self._model}] {text}", file=sys.stderr, flush=True)


def size(number: float) -> str:
    """Returns a number of bytes in the largest unit that leaves at least 1."""
    power = min(max(int(number).bit_length() - 1, 0) // 10, len(UNITS) - 1)
    return f"{number / 1024**power:.1f} {UNITS[power]}" if power else f"{number:.0f} B"
