"""The recorded expositions of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).with_name("samples")
FILES = sorted(FOLDER.glob("*.prom"))


def families(file: Path) -> Iterator[Metric]:
    """The metrics of a file, under the names that stand in it; raises `ValueError` when it does not parse."""
    text = file.read_text(encoding="utf-8")
    for family in text_string_to_metric_families(text):
        if family.type == "counter" and f"\n# TYPE {family.name} " in text:
            # The parser adds the ending that some counters lack.
            family.samples = [s._replace(name=s.name.removesuffix("_total")) for s in family.samples]
        yield family
