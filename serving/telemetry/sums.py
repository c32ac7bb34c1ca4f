"""Counters and histograms of many processes as one exposition, quickly: a node may have some ten thousand samples.

`MultiProcessCollector` parses and renders every sample at each scrape, which takes a second for 29,000 samples. Here a
file of `prometheus-client` is parsed only when it has grown, and a sample's line is rendered once, by that library. A
scrape then reads the values in place, adds them up and appends them to their lines. docs/decisions/0009-scrapes.md has
the figures.
"""

from __future__ import annotations

import json
import os
import sys
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_VALUE_BYTES = 8
"""Each value is a native double at a multiple of its size, as in `MmapedDict`."""


class _SingleMetric(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class _SumsFile:
    """A file of samples. It is kept open, so that a replacement has another inode, whatever its name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kind = path.name.partition("_")[0]
        self._file = path.open("rb")
        self._used = 0
        self._places = np.empty(0, dtype=np.intp)
        self.samples = np.empty(0, dtype=np.intp)  # sample numbers of its values, shape (values,)

    def close(self) -> None:
        self._file.close()

    def replaced(self) -> bool:
        """Returns whether its name now belongs to another file. Raises `OSError` if there is none."""
        return not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())

    def values(self, number: Callable[[str, str], int]) -> NDArray[np.float64]:
        """Returns the values of its samples, which `number` numbers by kind and key."""
        used = int.from_bytes(os.pread(self._file.fileno(), 4, 0), sys.byteorder)
        if used != self._used:
            self._parse(number)
        data = np.frombuffer(os.pread(self._file.fileno(), self._used, 0), dtype=np.float64)
        return data[self._places]

    def _parse(self, number: Callable[[str, str], int]) -> None:
        places, samples, used = [], [], 0
        for key, _value, _timestamp, place in MmapedDict.read_all_values_from_file(str(self._path)):  # type: ignore[no-untyped-call]
            places.append(place // _VALUE_BYTES)
            samples.append(number(self._kind, key))
            used = place + 2 * _VALUE_BYTES  # each value is followed by a timestamp
        self._used = used
        self._places, self.samples = np.array(places, dtype=np.intp), np.array(samples, dtype=np.intp)


@dataclass(slots=True)
class _Buckets:
    """A histogram with some labels: upper bounds with the numbers of their samples, in order, and the count's line."""

    bounds: list[tuple[float, int]]
    count: str


@dataclass(slots=True)
class _Family:
    """A metric: its header, the numbers of counters and sums, and buckets by labels."""

    head: str
    plain: list[int] = field(default_factory=list)
    buckets: dict[tuple[tuple[str, str], ...], _Buckets] = field(default_factory=dict)


class Sums:
    """Counters and histograms in files that only grow, or are replaced, and whose names begin with their kind."""

    def __init__(self) -> None:
        self._keys: dict[str, int] = {}  # numbers of samples, by their keys in files
        self._numbers: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}  # by name and labels
        self._lines: list[str] = []  # by number: the line without the value
        self._families: dict[str, _Family] = {}
        self._files: dict[Path, _SumsFile] = {}

    def render(self, paths: Sequence[Path]) -> str:
        """Returns the sums over all files in Prometheus' text format. Raises `OSError`."""
        self._open(paths)
        read = [(file, file.values(self._number)) for file in self._files.values()]
        sums, there = np.zeros(len(self._lines)), np.zeros(len(self._lines), dtype=bool)
        for file, added in read:
            np.add.at(sums, file.samples, added)
            there[file.samples] = True
        values, present = sums.tolist(), there.tolist()
        return "".join(text for family in self._families.values() for text in self._family(family, values, present))

    def _family(self, family: _Family, values: list[float], present: list[bool]) -> Iterator[str]:
        lines = [f"{self._lines[each]} {_format_value(values[each])}\n" for each in family.plain if present[each]]
        for buckets in family.buckets.values():
            total, any_there = 0.0, False
            for _, each in buckets.bounds:
                if present[each]:
                    total += values[each]
                    any_there = True
                    lines.append(f"{self._lines[each]} {_format_value(total)}\n")
            if any_there:
                lines.append(f"{buckets.count} {_format_value(total)}\n")
        if lines:
            yield family.head
            yield from lines

    def _open(self, paths: Sequence[Path]) -> None:
        for path in set(self._files).difference(paths):
            self._files.pop(path).close()
        for path in paths:
            file = self._files.get(path)
            if file is not None and file.replaced():
                self._files.pop(path).close()
                file = None
            if file is None and path.stat().st_size:  # otherwise its process is about to write the first value
                self._files[path] = _SumsFile(path)

    def _number(self, kind: str, key: str) -> int:
        found = self._keys.get(key)
        if found is None:
            name, sample, labels, documentation = json.loads(key)
            # The keys in files include a metric's help text, which may differ between releases.
            identity = (sample, tuple(sorted(labels.items())))
            found = self._numbers.get(identity)
            if found is None:
                found = self._numbers[identity] = self._added(kind, name, sample, labels, documentation)
            self._keys[key] = found
        return found

    def _added(self, kind: str, name: str, sample: str, labels: dict[str, str], documentation: str) -> int:
        bound = labels.pop("le", None) if sample == f"{name}_bucket" else None
        le = {} if bound is None else {"le": floatToGoString(float(bound))}  # type: ignore[no-untyped-call]
        head, line = _rendered(kind, name, documentation, sample, labels | le)
        number = len(self._lines)
        self._lines.append(line)
        family = self._families.setdefault(name, _Family(head))
        if bound is None:
            family.plain.append(number)
        else:
            of = tuple(sorted(labels.items()))
            if of not in family.buckets:
                _, count = _rendered(kind, name, documentation, f"{name}_count", labels)
                family.buckets[of] = _Buckets([], count)
            insort(family.buckets[of].bounds, (float(bound), number))
        return number


def _rendered(kind: str, name: str, documentation: str, sample: str, labels: dict[str, str]) -> tuple[str, str]:
    """Returns the header of a metric and the line of a sample without its value, as `prometheus-client` writes them."""
    metric = Metric(name, documentation, kind)
    metric.add_sample(sample, labels, 0.0)
    registry = CollectorRegistry()
    registry.register(_SingleMetric(metric))
    head, _, line = generate_latest(registry).decode().removesuffix("\n").rpartition("\n")
    return f"{head}\n", line.rpartition(" ")[0]


def _format_value(value: float) -> str:
    return floatToGoString(value)  # type: ignore[no-untyped-call, no-any-return]
