"""An hour of what every program prints, in OpenMetrics: the same curves in each run.

The rows are those of `tests/contract/monitoring/exposition.py`, with names that a person can read where a row says `v`.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from monitoring.dashboards.variables import without_variables
from monitoring.groups import GROUPS
from monitoring.rule import Recording
from tests.contract.monitoring.exposition import ANY, JOBS, Family, Row, World
from tests.monitoring.queries import queries
from tests.stack.dashboards.levels import SWING, gauge, rate, typical
from tests.stack.dashboards.names import FAILED, FITTED, name

STEP_S = 30
LATER_S = 60 * 86_400
SHARPNESS = 2.5
"""How close the values of a histogram lie to the typical one."""
INSTANCES = {job: f"10.0.0.{at}:9400" for at, job in enumerate(JOBS, 11)}

Labels = dict[str, str]
Curve = Callable[[float], float]


def wave(series: str, swing: float = SWING) -> Curve:
    """Seconds to a level around 1 that rises and falls in about half an hour, in its own way for each series."""
    seed = zlib.crc32(series.encode())
    size, start, turn = 0.7 + seed % 97 / 160, seed % 89 / 89 * math.tau, math.tau / (1500 + seed % 83 * 20)
    return lambda t: (size if swing else 1) * (1 + swing * math.sin(turn * t + start))


@dataclass(frozen=True)
class History:
    """What was printed from `start` to `end`, both Unix seconds."""

    start: int
    end: int

    def lines(self) -> Iterator[str]:
        times = range(self.start, self.end, STEP_S)
        for series, values in self._series().items():
            for at, value in zip(times, values, strict=True):
                yield f"{series} {value:.9g} {at}"
        yield "# EOF"

    def _series(self) -> dict[str, Sequence[float]]:
        recordings = (rule.expression for group in GROUPS for rule in group.rules if isinstance(rule, Recording))
        world = World([*recordings, *(without_variables(query.expression) for query in queries())])
        up = self._values(lambda _: 1)
        found = {f"up{_braces({'job': job, 'instance': instance})}": up for job, instance in INSTANCES.items()}
        for metric, family in world.families.items():
            job = "headrace" if family.series.source == "prometheus" else family.series.source
            for row, value in _copies(family):
                labels = {"job": job, "instance": INSTANCES[job], **dict(sorted(row))}
                found.update(self._metric(metric, family, labels, value))
        return found

    def _metric(
        self, metric: str, family: Family, labels: Labels, value: float
    ) -> Iterator[tuple[str, Sequence[float]]]:
        series, rare = metric + _braces(labels), labels.get("outcome", "ok") != "ok" or bool(labels.get("error_code"))
        level, swing = gauge(family.series, metric)
        curve = wave(series, swing)
        each = rate(metric, rare)
        if family.kind == "histogram":
            yield from self._histogram(metric, family.buckets, labels, each)
        elif family.kind == "counter":
            busy = wave(series)
            yield series, self._sums(lambda t: each * busy(t))
        elif metric.endswith("_timestamp_seconds"):
            yield series, self._values(lambda _: self.end + LATER_S)
        elif value != 1:
            yield series, self._values(lambda _: value)
        else:
            whole = family.series.unit == "1"
            yield series, self._values(lambda t: round(level * curve(t)) if whole else level * curve(t))

    def _histogram(
        self, metric: str, buckets: Sequence[str], labels: Labels, each: float
    ) -> Iterator[tuple[str, Sequence[float]]]:
        """Log-logistic: half of the values lie below the typical one, which moves."""
        braces, usual = _braces(labels), typical(metric)
        many, middle = wave(metric + braces), wave(f"middle of {metric}{braces}")

        def below(bound: float) -> Curve:
            return lambda t: each * many(t) / (1 + (usual * middle(t) / bound) ** SHARPNESS)

        for le in buckets:
            yield f"{metric}_bucket{_braces({**labels, 'le': le})}", self._sums(below(float(le)))
        yield f"{metric}_count{braces}", self._sums(below(math.inf))
        yield f"{metric}_sum{braces}", self._sums(lambda t: 1.3 * usual * middle(t) * each * many(t))

    def _values(self, curve: Curve) -> Sequence[float]:
        return [curve(at) for at in range(0, self.end - self.start, STEP_S)]

    def _sums(self, rates: Curve) -> Sequence[float]:
        """A counter that gains `rates` each second."""
        return list(itertools.accumulate(STEP_S * rates(at) for at in range(0, self.end - self.start, STEP_S)))


def _copies(family: Family) -> Iterator[tuple[Row, float]]:
    for row, value in family.rows.items():
        rows = (row, row - {("outcome", ANY)} | {FAILED}) if ("outcome", ANY) in row else (row,)
        for one in rows:
            for copy in (0, 1):
                yield frozenset((k, name(k, copy) if v == ANY else FITTED.get(v, v)) for k, v in one), value


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels.items()) + "}"
