"""A process that emits every metric of the catalogue with the labels of a `World`, and lives until its input ends.

It reads the world as a line of JSON and answers with a line once all is written. It needs `PROMETHEUS_MULTIPROC_DIR`.
"""

from __future__ import annotations

import json
import sys

from prometheus_client import Counter, Gauge, Histogram

from bench.telemetry.world import World
from serving.telemetry import metrics
from serving.telemetry.catalogue import CATALOGUE

SECONDS = 0.3
"""What is observed: it falls into one bucket of each histogram."""


def made() -> dict[str, Counter | Gauge | Histogram]:
    """Returns the metric objects of this process by their catalogue's names."""
    late = (metrics.in_flight(), metrics.disk_free_bytes(), metrics.disk_size_bytes(), metrics.backup_age_seconds())
    found = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]
    named = {each.describe()[0].name: each for each in (*found, *late)}
    return {m.name: named[m.name.removesuffix("_total") if m.kind == "counter" else m.name] for m in CATALOGUE}


def emit(world: World) -> int:
    """Adds to every series once; returns how many there are, a histogram's buckets not counted."""
    objects, count = made(), 0
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
    """Emits, says so, and stays."""
    print(emit(World(**json.loads(sys.stdin.readline()))), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
