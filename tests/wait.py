"""Waiting for what comes to pass by itself: the one way of every suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(true: Callable[[], T], what: str = "it came to pass", seconds: float = 60, every: float = 0.1) -> T:
    """Asks again and again, and returns what was true; fails, saying `what`, when `seconds` are over first.

    Most of what tests wait for is there after some milliseconds: it asks often at first, and then `every` so many
    seconds. What asks by a program, as kubectl, takes time from what is waited for.
    """
    until, pause_s = time.monotonic() + seconds, 0.005 if every <= 0.1 else every
    while not (found := true()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, every)
    return found


def last(find: Callable[[], T], good: Callable[[T], bool], seconds: float = 60) -> T:
    """Asks again and again until what is found is good, and returns it or what was found last, to be shown."""
    until = time.monotonic() + seconds
    while not good(found := find()) and time.monotonic() < until:
        time.sleep(1)
    return found
