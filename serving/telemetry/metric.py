"""The definition of a metric, independent of processes that emit it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bounds of buckets for whole requests and waits."""

Unit = Literal["seconds", "bytes", "ratio", "currency", "celsius", "watts", "1"]
UNITS: dict[str, Unit] = {
    "seconds": "seconds",
    "bytes": "bytes",
    "ratio": "ratio",
    "cost": "currency",
    "price": "currency",
}
"""Unit of a metric by the suffix of its name."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` has no suffix that Prometheus adds to histograms, and base units."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def unit(self) -> Unit:
        """The unit of a sample, by the name's suffix, as is Prometheus's convention."""
        stem = self.name.removesuffix("_total")
        return next((unit for ending, unit in UNITS.items() if stem.endswith(f"_{ending}")), "1")
