"""How far back a page looks, and how many points it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCRAPE_S = 15
"""Seconds between scrapes, at most: a rate needs four."""


@dataclass(frozen=True, slots=True)
class Window:
    """A range that ends now; both in seconds."""

    seconds: int
    step: int

    @property
    def rate_interval(self) -> int:
        """Seconds of `$__rate_interval`: as Grafana takes it, so that no sample between two points is lost."""
        return max(self.step + SCRAPE_S, 4 * SCRAPE_S)


WINDOWS: Mapping[str, Window] = {
    "15m": Window(900, 5),
    "1h": Window(3600, 15),
    "6h": Window(21_600, 90),
    "24h": Window(86_400, 300),
    "7d": Window(604_800, 2400),
}
DEFAULT = "1h"
