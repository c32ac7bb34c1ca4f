"""A process that emits every metric of the catalogue with the labels of `NodeLabels`, and lives until its input ends.

It reads the labels as a line of JSON, and prints a line once all is written. It needs `PROMETHEUS_MULTIPROC_DIR`.
"""

from __future__ import annotations

import json
import sys

from prometheus_client import Counter, Gauge, Histogram

from bench.telemetry.node_labels import NodeLabels
from serving.telemetry import metrics
from serving.telemetry.catalogue import CATALOGUE

SECONDS = 0.3
"""The observed value, which falls into one bucket of each histogram."""


def metric_objects() -> dict[str, Counter | Gauge | Histogram]:
    """Returns the metric objects of this process by their names in the catalogue."""
    late = (metrics.in_flight(), metrics.disk_free_bytes(), metrics.disk_size_bytes(), metrics.backup_age_seconds())
    found = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]
    named = {each.describe()[0].name: each for each in (*found, *late)}
    return {m.name: named[m.name.removesuffix("_total") if m.kind == "counter" else m.name] for m in CATALOGUE}


def emit(world: NodeLabels) -> int:
    """Adds one event to every series; returns the number of series, not counting a histogram's buckets."""
    objects, count = metric_objects(), 0
    for metric in CATALOGUE:
        for labels in world.series(metric):
            one = objects[metric.name]
            series = one.labels(*labels) if labels else one
            if isinstance(series, Histogram):
                series.observe(SECONDS)
            elif isinstance(series, Gauge):
                series.set(1)
            else:
                series.inc()
            count += 1
    return count


def main() -> None:
    """Emits, prints the number of series, and waits for the end of input."""
    print(emit(NodeLabels(**json.loads(sys.stdin.readline()))), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
