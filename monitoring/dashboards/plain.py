"""Expressions of panels without the variables that only a dashboard knows."""

from __future__ import annotations

import re
from collections.abc import Callable

RATE_INTERVAL = "1m"
RANGE = "1h"
_TIMES = {"__rate_interval": RATE_INTERVAL, "__interval": RATE_INTERVAL, "__range": RANGE}
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")


def plain(expression: str) -> str:
    """The expression as Prometheus can evaluate it: every variable stands for all of its values.

    `$__rate_interval` is a minute, which holds four scrapes of 15 s.
    """
    return substitute(expression, lambda name: _TIMES.get(name, ".*"))


def substitute(expression: str, value: Callable[[str], str]) -> str:
    """The expression with what `value` gives in the place of each variable."""
    return _VARIABLE.sub(lambda found: value(found[1] or found[2]), expression)
