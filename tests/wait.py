"""Waiting for what comes to pass by itself: the one way of every suite."""

from __future__ import annotations

import time
from collections.abc import Callable


def eventually(true: Callable[[], object], what: str = "it came to pass", seconds: float = 60) -> None:
    """Asks again and again; fails, saying `what`, when `seconds` are over first."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
