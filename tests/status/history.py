"""An hour of what every program prints, in OpenMetrics: the same curves in each run.

The rows are those of `tests/unit/monitoring/exposition.py`, with names that a person can read where a row says `v`.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from monitoring import dashboards
from monitoring.groups import GROUPS
from monitoring.rule import Recording
from tests.status.names import name
from tests.unit.monitoring.exposition import ANY, JOBS, Family, Row, World

STEP_S = 30
RATES = {"seconds": 0.4, "bytes": 2e5, "currency": 2e-4}
"""Of a counter, per second, by its unit."""
LEVELS = {"seconds": 40.0, "bytes": 6e9, "ratio": 0.6, "currency": 1.9, "1": 4.0}
"""Of a gauge of Headrace, by its unit."""
LATER_S = 60 * 86_400
INSTANCES = {job: f"10.0.0.{at}:9400" for at, job in enumerate(JOBS, 11)}

Labels = dict[str, str]
Curve = Callable[[float], float]


class Wave:
    """A level around 1 that rises and falls in about half an hour, in its own way for each series."""

    def __init__(self, series: str) -> None:
        seed = zlib.crc32(series.encode())
        self._size, self._start = 0.6 + seed % 97 / 97, seed % 89 / 89 * math.tau
        self._turn = math.tau / (1500 + seed % 83 * 20)

    def level(self, t: float) -> float:
        return self._size * (1 + 0.35 * math.sin(self._turn * t + self._start))

    def grown(self, t: float) -> float:
        """What a counter has that grows by `level` each second."""
        return self._size * (t + 0.35 / self._turn * (math.cos(self._start) - math.cos(self._turn * t + self._start)))


@dataclass(frozen=True)
class History:
    """What was printed from `start` to `end`, both Unix seconds."""

    start: int
    end: int

    def lines(self) -> Iterator[str]:
        for series, curve in self._curves().items():
            for at in range(self.start, self.end, STEP_S):
                yield f"{series} {curve(at - self.start):.9g} {at}"
        yield "# EOF"

    def _curves(self) -> dict[str, Curve]:
        recordings = (rule.expression for group in GROUPS for rule in group.rules if isinstance(rule, Recording))
        world = World([*recordings, *(dashboards.plain(query.expression) for query in dashboards.queries())])
        found: dict[str, Curve] = {f"up{_braces({'job': j, 'instance': i})}": lambda _: 1 for j, i in INSTANCES.items()}
        for metric, family in world.families.items():
            job = "headrace" if family.series.source == "prometheus" else family.series.source
            for row, value in _copies(family):
                labels = {"job": job, "instance": INSTANCES[job], **dict(sorted(row))}
                found.update(self._series(metric, family, labels, value))
        return found

    def _series(self, metric: str, family: Family, labels: Labels, value: float) -> Iterator[tuple[str, Curve]]:
        series, wave = metric + _braces(labels), Wave(metric + json.dumps(labels))
        rare = 0.01 if labels.get("outcome", "ok") != "ok" or "error" in metric else 1
        unit = family.series.unit
        if family.kind == "histogram":
            yield from _histogram(metric, family.buckets, labels, wave, rare)
        elif family.kind == "counter":
            rate = RATES.get(unit, 40.0 if "tokens" in metric else 1.0) * rare
            yield series, lambda t: rate * wave.grown(t)
        elif metric.endswith("_timestamp_seconds"):
            yield series, lambda _: self.end + LATER_S
        elif family.series.source == "headrace" and unit in LEVELS:
            whole = unit == "1"
            yield series, lambda t: math.ceil(4 * wave.level(t)) if whole else LEVELS[unit] * wave.level(t)
        else:
            yield series, lambda _: value


def _copies(family: Family) -> Iterator[tuple[Row, float]]:
    for row, value in family.rows.items():
        for copy in (0, 1):
            yield frozenset((k, name(k, copy) if v == ANY else v) for k, v in row), value


def _histogram(
    metric: str, buckets: tuple[str, ...], labels: Labels, wave: Wave, rare: float
) -> Iterator[tuple[str, Curve]]:
    """Most values lie near the middle bucket."""
    middle = float(buckets[(len(buckets) - 1) // 2])
    for at, le in enumerate(buckets, 1):
        share = rare if le == "+Inf" else rare / (1 + math.exp(6 - 12 * at / len(buckets)))
        yield f"{metric}_bucket{_braces({**labels, 'le': le})}", lambda t, share=share: share * wave.grown(t)
    yield f"{metric}_count{_braces(labels)}", lambda t: rare * wave.grown(t)
    yield f"{metric}_sum{_braces(labels)}", lambda t: rare * middle * wave.grown(t)


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels.items()) + "}"
