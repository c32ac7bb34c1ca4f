"""Time ranges of a page, and their resolution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCRAPE_S = 15
"""Longest expected scrape interval in seconds: a rate needs four scrapes."""


@dataclass(frozen=True, slots=True)
class Window:
    """A time range that ends now; range and step are in seconds."""

    seconds: int
    step: int

    @property
    def rate_interval(self) -> int:
        """`$__rate_interval` in seconds, computed as in Grafana, so that no sample between two points is lost."""
        return max(self.step + SCRAPE_S, 4 * SCRAPE_S)


WINDOWS: Mapping[str, Window] = {
    "15m": Window(900, 5),
    "1h": Window(3600, 15),
    "6h": Window(21_600, 90),
    "24h": Window(86_400, 300),
    "7d": Window(604_800, 2400),
}
DEFAULT = "1h"
