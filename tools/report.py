"""What the commands print for people: short lines on stderr, and one kind of error."""

import sys

INTERVAL_S = 5.0
"""Seconds between two progress lines."""


class ToolError(Exception):
    """A command failed; the text is one line that says why and what to do."""


def say(line: str) -> None:
    """Prints one line on stderr."""
    print(line, file=sys.stderr, flush=True)
