"""What an expression may name: the metrics of the catalogue, of other programs, and of our own recording rules."""

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
HISTOGRAM = ("_bucket", "_sum", "_count")
TARGET = ("job", "instance", "namespace", "pod", "container", "endpoint", "headrace_io_pool")
"""Labels that scraping adds to each sample."""


@dataclass(frozen=True, slots=True)
class Series:
    """One name in Prometheus; `labels` are those of the program that emits it, without what scraping adds."""

    name: str
    kind: Literal["counter", "gauge"]
    unit: Unit
    labels: tuple[str, ...]
    source: Source
    help: str


def of(metric: Metric, source: Source = "headrace") -> tuple[Series, ...]:
    """The names that Prometheus keeps a metric under: three for a histogram."""
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
    """Raises `ValueError` when a name stands twice."""
    found: dict[str, Series] = {}
    for one in series:
        if one.name in found:
            raise ValueError(f"{one.name} is declared twice")
        found[one.name] = one
    return found


OWN = by_name(one for metric in CATALOGUE for one in of(metric))
"""What Headrace emits."""
