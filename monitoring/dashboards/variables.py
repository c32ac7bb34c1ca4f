"""The variables in panels' expressions, and their replacement."""

from __future__ import annotations

import re
from collections.abc import Callable

RATE_INTERVAL = "1m"
RANGE = "1h"
_TIMES = {"__rate_interval": RATE_INTERVAL, "__interval": RATE_INTERVAL, "__range": RANGE}
_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")


def without_variables(expression: str) -> str:
    """Returns the expression as Prometheus can evaluate it: every variable matches all of its values.

    `$__rate_interval` becomes a minute, in which there are four scrapes every 15 s.
    """
    return substitute(expression, lambda name: _TIMES.get(name, ".*"))


def substitute(expression: str, value: Callable[[str], str]) -> str:
    """Returns the expression with each variable replaced by what `value` returns for its name."""
    return _VARIABLE.sub(lambda found: value(found[1] or found[2]), expression)
