"""Ids and time: the only module that creates them."""

from __future__ import annotations

import secrets
import time

_DASHED = frozenset(("file", "chatcmpl", "cmpl", "blocked"))
"""Prefixes followed by a dash, as in OpenAI's API."""

_PART = 8
"""Number of hexadecimal digits that distinguish the parts of one whole."""


def new_id(prefix: str) -> str:
    """Returns `prefix` and 128 random bits: `file-3f…`, `chatcmpl-…`, and `vs_…`, `job_…` and so on for most others.

    It is lower-case hexadecimal, so that an id is a safe file name on case-insensitive file systems too.
    """
    return f"{prefix}{'-' if prefix in _DASHED else '_'}{secrets.token_hex(16)}"


def part_id(prefix: str, whole: str) -> str:
    """Returns an id of a part of `whole`, from which `whole_id` returns the whole."""
    return f"{prefix}_{whole.rpartition('_')[2]}{secrets.token_hex(_PART // 2)}"


def whole_id(prefix: str, part: str) -> str:
    """Returns the id, with its prefix, of which `part` is a part; it may not exist."""
    return f"{prefix}_{part.rpartition('_')[2][:-_PART]}"


def new_request_id() -> str:
    """Returns 96 random bits, for a request without a valid `x-request-id`."""
    return secrets.token_hex(12)


def now() -> float:
    """Returns unix time in seconds. The API shows whole seconds; fractions keep lists ordered."""
    return time.time()
