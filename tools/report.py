"""What a person sees while tools are obtained: short lines on stderr, and one kind of error."""

import sys

INTERVAL_S = 5.0
"""Seconds between two lines of progress."""


class ToolError(Exception):
    """A tool cannot be had; the text is one line that says why and what to do."""


def say(line: str) -> None:
    """Prints one line on stderr."""
    print(line, file=sys.stderr, flush=True)
