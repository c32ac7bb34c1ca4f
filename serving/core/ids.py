"""The one place for ids and time."""

from __future__ import annotations

import secrets
import time


def new_id(prefix: str) -> str:
    """Returns `prefix` and 128 random bits: `file-3f…`, and `vs_…`, `job_…`, `conv_…` and so on for the others.

    Lower-case hexadecimal, so that an id is also a safe file name where upper and lower case are one.
    """
    return f"{prefix}{'-' if prefix == 'file' else '_'}{secrets.token_hex(16)}"


def now() -> float:
    """Returns unix time in seconds. The API shows whole seconds; fractions keep listings in order."""
    return time.time()
