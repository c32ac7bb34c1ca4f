"""The one place for ids and time."""

from __future__ import annotations

import secrets
import time

_DASHED = frozenset(("file", "chatcmpl", "cmpl", "blocked"))
"""Prefixes that a dash follows, as in OpenAI's API."""

_PART = 8
"""Hexadecimal digits that tell the parts of one whole apart."""


def new_id(prefix: str) -> str:
    """Returns `prefix` and 128 random bits: `file-3f…`, `chatcmpl-…`, and `vs_…`, `job_…` and so on for most others.

    Lower-case hexadecimal, so that an id is also a safe file name where upper and lower case are one.
    """
    return f"{prefix}{'-' if prefix in _DASHED else '_'}{secrets.token_hex(16)}"


def part_id(prefix: str, whole: str) -> str:
    """Returns an id of a part of `whole`, from which `whole_id` tells of what it is a part."""
    return f"{prefix}_{whole.rpartition('_')[2]}{secrets.token_hex(_PART // 2)}"


def whole_id(prefix: str, part: str) -> str:
    """Returns the id, with its prefix, of what `part` is a part of; it may be no id at all."""
    return f"{prefix}_{part.rpartition('_')[2][:-_PART]}"


def new_request_id() -> str:
    """Returns 96 random bits, for a request whose `x-request-id` is none."""
    return secrets.token_hex(12)


def now() -> float:
    """Returns unix time in seconds. The API shows whole seconds; fractions keep listings in order."""
    return time.time()
