"""Waiting for what comes to pass by itself: the one way of every suite."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(true: Callable[[], T], what: str = "it came to pass", seconds: float = 60, every: float = 0.1) -> T:
    """Asks again and again, and returns what was true; fails, saying `what`, when `seconds` are over first.

    `every` so many seconds: what asks by a program, as kubectl, takes time from what is waited for.
    """
    until = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {what}"
        time.sleep(every)
    return found


def last(find: Callable[[], T], good: Callable[[T], bool], seconds: float = 60) -> T:
    """Asks again and again until what is found is good, and returns it or what was found last, to be shown."""
    until = time.monotonic() + seconds
    while not good(found := find()) and time.monotonic() < until:
        time.sleep(1)
    return found
