"""Short tables of a program's metrics: names by their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from monitoring.series import Foreign, Series, Source, prometheus_series
from serving.telemetry.catalogue import Metric, Unit

Rows = Mapping[tuple[str, ...], Sequence[tuple[str, str]]]
"""Name (without a histogram's suffix) and help of each metric, by labels."""
NONE: Rows = {}
ENDINGS: Mapping[str, Unit | Foreign] = {
    "_ms": "milliseconds",
    "_milliwatts": "milliwatts",
    "_celsius": "celsius",
    "_percent": "percent",
    "_percentage": "percent",
    "_utilization": "percent",
    "_UTIL": "percent",
}


def program(
    source: Source,
    *,
    counters: Rows = NONE,
    gauges: Rows = NONE,
    histograms: Rows = NONE,
    units: Mapping[str, Unit | Foreign] | None = None,
) -> tuple[Series, ...]:
    """Returns the series of a program; `units` are given for metrics whose names do not tell them."""
    kinds: tuple[tuple[Literal["counter", "gauge", "histogram"], Rows], ...] = (
        ("counter", counters),
        ("gauge", gauges),
        ("histogram", histograms),
    )
    return tuple(
        one
        for kind, rows in kinds
        for labels, metrics in rows.items()
        for name, help in metrics
        for one in _series(Metric(name, kind, help, labels), source, units or {})
    )


def _series(metric: Metric, source: Source, units: Mapping[str, Unit | Foreign]) -> tuple[Series, ...]:
    unit = units.get(metric.name) or _unit(metric)
    uncounted = ("_bucket", "_count") if metric.kind == "histogram" else ()
    return tuple(
        one if one.name.endswith(uncounted) else replace(one, unit=unit) for one in prometheus_series(metric, source)
    )


def _unit(metric: Metric) -> Unit | Foreign:
    for ending, unit in ENDINGS.items():
        if metric.name.endswith(ending):
            return unit
    return metric.unit
