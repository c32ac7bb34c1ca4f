"""Series in Prometheus, and those of the metrics in Headrace's catalogue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from serving.telemetry.catalogue import CATALOGUE, Metric, Unit

Source = Literal[
    "headrace",
    "vllm",
    "llama.cpp",
    "ray",
    "haproxy",
    "dcgm",
    "kubernetes",
    "cert-manager",
    "node",
    "prometheus",
    "rule",
]
Foreign = Literal["percent", "milliseconds", "megabytes", "megahertz", "milliwatts", "millijoules"]
"""Units that other programs use and Headrace does not."""
HISTOGRAM = ("_bucket", "_sum", "_count")


@dataclass(frozen=True, slots=True)
class Series:
    """A name in Prometheus; `labels` are those of the program that emits it, without those that scraping adds."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: Unit | Foreign
    labels: tuple[str, ...]
    source: Source
    help: str


def prometheus_series(metric: Metric, source: Source = "headrace") -> tuple[Series, ...]:
    """Returns the series of a metric: three for a histogram."""
    if metric.kind != "histogram":
        return (Series(metric.name, metric.kind, metric.unit, metric.labels, source, metric.help),)
    units: dict[str, Unit] = {"_bucket": "1", "_sum": metric.unit, "_count": "1"}
    return tuple(
        Series(
            f"{metric.name}{ending}",
            "counter",
            units[ending],
            (*metric.labels, *(("le",) if ending == "_bucket" else ())),
            source,
            metric.help,
        )
        for ending in HISTOGRAM
    )


def by_name(series: Iterable[Series]) -> dict[str, Series]:
    """Returns series by name. Raises `ValueError` for a duplicate name."""
    found: dict[str, Series] = {}
    for one in series:
        if one.name in found:
            raise ValueError(f"{one.name} is declared twice")
        found[one.name] = one
    return found


OWN = by_name(one for metric in CATALOGUE for one in prometheus_series(metric))
"""The series that Headrace emits."""
