"""Looks for patterns in a long text a part at a time, so that other threads go on meanwhile.

A search holds the interpreter's lock to its end: for a text of millions of characters that is seconds in which no
event loop turns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PART = 16_384
"""Characters in which a match is looked for before others have their turn."""

REACH = 4_096
"""Characters after these that are looked at too: each form shows within fewer whether it matches."""

LOOK = 512
"""Characters after a match that its form looks at, at most."""


def scan(form: re.Pattern[str], text: str, start: int = 0) -> Iterator[re.Match[str]]:
    """Yields what `form.finditer(text, start)` does, of a form that matches no empty text."""
    if len(text) - start <= PART + REACH:
        yield from form.finditer(text, start)
        return
    while (found := search(form, text, start)) is not None:
        yield found
        start = found.end()


def search(form: re.Pattern[str], text: str, start: int) -> re.Match[str] | None:
    """Returns what `form.search(text, start)` does."""
    while (end := start + PART + REACH) < len(text):
        found = form.search(text, start, end)
        if found is None or found.start() >= start + PART:
            start += PART
        elif found.end() < end - LOOK:
            return found
        else:  # it may go on, or be none
            start = found.start()
            if (whole := form.match(text, start)) is not None:
                return whole
            start += 1
    return form.search(text, start)
