"""Time ranges and filters of a dashboard, and its expressions with them. No other PromQL is evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from serving.telemetry.dashboards.board import Dashboard

SCRAPE_S = 15
"""Longest expected scrape interval in seconds: a rate needs four scrapes."""

_VARIABLE = re.compile(r"\$\{(\w+)(?::\w+)?\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A time range that ends now; range and step are in seconds."""

    seconds: int
    step: int

    @property
    def rate_interval(self) -> int:
        """`$__rate_interval` in seconds, computed as in Grafana, so that no sample between two points is lost."""
        return max(self.step + SCRAPE_S, 4 * SCRAPE_S)


RANGES: Mapping[str, TimeRange] = {
    "15m": TimeRange(900, 5),
    "1h": TimeRange(3600, 15),
    "6h": TimeRange(21_600, 90),
    "24h": TimeRange(86_400, 300),
    "7d": TimeRange(604_800, 2400),
}
DEFAULT_RANGE = "1h"

Selection = Mapping[str, str]
"""The selected label value of each filtered variable; a missing one means all values."""


def fill_variables(expression: str, dashboard: Dashboard, selection: Selection, range: TimeRange) -> str:
    """Returns the expression with its variables replaced; they occur only in quotes after `=~`, and as times."""
    values = {
        "__rate_interval": f"{range.rate_interval}s",
        "__interval": f"{range.step}s",
        "__range": f"{range.seconds}s",
    }
    for variable in dashboard.variables:
        chosen = selection.get(variable.name)
        values[variable.name] = pattern(chosen) if chosen is not None else variable.all_value
    return _VARIABLE.sub(lambda match: values[match[1] or match[2]], expression)


def pattern(value: str) -> str:
    """Returns a pattern, for the quotes of `label=~""`, that matches this value and no other.

    PromQL's strings use Go's escapes, which include JSON's as long as no character is written as surrogates.
    """
    return json.dumps(re.escape(value), ensure_ascii=False)[1:-1]
