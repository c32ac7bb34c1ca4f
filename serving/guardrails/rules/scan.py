"""Searches patterns in a long text in parts, so that other threads can run in between.

A search holds the interpreter's lock: for a text of millions of characters that is seconds in which no event loop runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PART = 16_384
"""Number of characters that are searched before other threads can run."""

REACH = 4_096
"""Number of following characters that are visible too: each form matches within fewer."""

LOOK = 512
"""Maximum number of characters after a match that its form examines."""


def scan(form: re.Pattern[str], text: str, start: int = 0) -> Iterator[re.Match[str]]:
    """Yields the same as `form.finditer(text, start)`, for a form without empty matches."""
    if len(text) - start <= PART + REACH:
        yield from form.finditer(text, start)
        return
    while (found := search(form, text, start)) is not None:
        yield found
        start = found.end()


def search(form: re.Pattern[str], text: str, start: int) -> re.Match[str] | None:
    """Returns the same as `form.search(text, start)`."""
    while (end := start + PART + REACH) < len(text):
        found = form.search(text, start, end)
        if found is None or found.start() >= start + PART:
            start += PART
        elif found.end() < end - LOOK:
            return found
        else:  # it may continue, or not match
            start = found.start()
            if (whole := form.match(text, start)) is not None:
                return whole
            start += 1
    return form.search(text, start)
