"""The number of tokens that an engine reports for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_TOKENS = 10**12
"""Larger numbers are not plausible for one answer; smaller ones are exact in the 28 digits of `decimal`."""


def counts_of(usage: Any) -> tuple[int, int] | None:
    """Returns the reported numbers of tokens read and written; None unless both are reported."""
    if not isinstance(usage, Mapping):
        return None
    read, written = count(usage, "prompt_tokens"), count(usage, "completion_tokens")
    return (read, written) if read is not None and written is not None else None


def count(counts: Mapping[str, Any], name: str) -> int | None:
    """Returns one number of a report; None if it is missing or invalid."""
    value = counts.get(name)
    return value if type(value) is int and 0 <= value <= MAX_TOKENS else None
