"""Windows of quotas: a minute, a day or a month of the calendar in UTC. Times are unix seconds."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from serving.config import Window

_SECONDS = {"minute": 60, "day": 86_400}
_EPOCH = date(1970, 1, 1).toordinal()


def bounds(window: Window, at: float) -> tuple[int, float]:
    """Returns when the window that holds `at` begins, and when the next one does: never for what is not of a time."""
    if window in ("concurrent", "total"):
        return 0, math.inf
    if window == "month":
        first = datetime.fromtimestamp(math.floor(at), UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        after = (first + timedelta(days=32)).replace(day=1)
        return int(first.timestamp()), after.timestamp()
    seconds = _SECONDS[window]
    start = int(at // seconds) * seconds
    return start, float(start + seconds)


def day(at: float) -> str:
    """Returns the day of `at`, as `2026-01-31`."""
    return _day(math.floor(at / _SECONDS["day"]))


@lru_cache(maxsize=4)  # each request asks for today
def _day(number: int) -> str:
    return date.fromordinal(_EPOCH + number).isoformat()
