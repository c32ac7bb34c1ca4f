"""What is known of a metric before any process emits it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Unit = Literal["seconds", "bytes", "ratio", "currency", "celsius", "watts", "1"]
UNITS: dict[str, Unit] = {
    "seconds": "seconds",
    "bytes": "bytes",
    "ratio": "ratio",
    "cost": "currency",
    "price": "currency",
}
"""Unit of a metric by the ending of its name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` without the suffixes that Prometheus adds to a histogram, base units."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> Unit:
        """What a sample counts, as its name says by Prometheus's convention."""
        stem = self.name.removesuffix("_total")
        return next((unit for ending, unit in UNITS.items() if stem.endswith(f"_{ending}")), "1")
