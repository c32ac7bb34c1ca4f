"""The one place for ids and time."""

from __future__ import annotations

import secrets
import time

_DASHED = frozenset(("file", "chatcmpl", "cmpl", "blocked"))
"""Prefixes that a dash follows, as in OpenAI's API."""


def new_id(prefix: str) -> str:
    """Returns `prefix` and 128 random bits: `file-3f…`, `chatcmpl-…`, and `vs_…`, `job_…` and so on for most others.

    Lower-case hexadecimal, so that an id is also a safe file name where upper and lower case are one.
    """
    return f"{prefix}{'-' if prefix in _DASHED else '_'}{secrets.token_hex(16)}"


def new_request_id() -> str:
    """Returns 96 random bits, for a request whose `x-request-id` is none."""
    return secrets.token_hex(12)


def now() -> float:
    """Returns unix time in seconds. The API shows whole seconds; fractions keep listings in order."""
    return time.time()
