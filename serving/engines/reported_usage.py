"""The tokens that an engine reports of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_TOKENS = 10**12
"""More is no count of one answer's; below it amounts are exact in the 28 digits of `decimal`."""


def counts_of(usage: Any) -> tuple[int, int] | None:
    """Returns the tokens that an engine says it read and wrote, None where it does not say both."""
    if not isinstance(usage, Mapping):
        return None
    read, written = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    return (read, written) if read is not None and written is not None else None


def count(counts: Mapping[str, Any], name: str) -> int | None:
    """Returns one count of a report, None where it has none or one that is none."""
    value = counts.get(name)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None
