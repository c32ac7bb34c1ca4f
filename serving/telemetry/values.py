"""Values of this process's metrics: in the files that `prometheus-client` keeps for each process, or in memory.

The library's own class writes the same bytes in four times the time: a stream changes some thirty values, and this time
is taken from streams. docs/decisions/0010-what-telemetry-costs.md has the figures.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any

from prometheus_client.mmap_dict import MmapedDict, mmap_key

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
"""Folder of this process's files, if others read them."""

_DOUBLE = 8
_LOCK = Lock()


class _ValuesFile:
    """A file of the library, which allocates space in it; it is mapped a second time, to change values in place.

    As in `MmapedDict`, a file begins with the number of used bytes, and ends with the newest value and its timestamp.
    """

    def __init__(self, path: Path) -> None:
        self._rooms = MmapedDict(str(path))  # type: ignore[no-untyped-call]
        there = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        self._places: dict[str, int] = {key: at // _DOUBLE for key, _value, _time, at in there}
        self._file = path.open("r+b")
        self._map()

    def _map(self) -> None:
        self._bytes = mmap.mmap(self._file.fileno(), 0)
        self.cells: memoryview[float] = memoryview(self._bytes).cast("d")

    def place(self, key: str) -> int:
        """Returns the index in `cells` of a key's value, which its timestamp follows."""
        if key not in self._places:
            self._rooms.read_value(key)  # type: ignore[no-untyped-call]
            used = int.from_bytes(self._bytes[:4], sys.byteorder)
            self._places[key] = used // _DOUBLE - 2
            if used > len(self._bytes):  # an older mapping covers the beginning, and stays valid
                self._map()
        return self._places[key]


_FILES: dict[str, _ValuesFile] = {}
_MADE: dict[tuple[str, tuple[str, ...]], Value] = {}


def sample_value(name: str, labels: tuple[str, ...]) -> Value:
    """Returns the value object that the library created for a sample. Raises `KeyError`."""
    return _MADE[name, labels]


class Value:
    """Implements `prometheus-client`'s interface of values, without exemplars: an observation that has one is an error.

    Threads may share it; forks of a process may not.
    """

    __slots__ = ("_at", "_cells")

    def __init__(
        self,
        typ: str,
        metric_name: str,
        name: str,
        labelnames: list[str],
        labelvalues: list[str],
        help_text: str,
        multiprocess_mode: str = "",
        **_: Any,
    ) -> None:
        _MADE[name, tuple(labelvalues)] = self
        if FOLDER is None:
            self._cells, self._at = memoryview(bytearray(2 * _DOUBLE)).cast("d"), 0
            return
        kind = f"{typ}_{multiprocess_mode}" if typ == "gauge" else typ
        key = mmap_key(metric_name, name, labelnames, labelvalues, help_text)
        with _LOCK:
            file = _FILES.get(kind)
            if file is None:
                path = Path(FOLDER, f"{kind}_{os.getpid()}.db")
                file = _FILES[kind] = _ValuesFile(path)
            self._at = file.place(key)
            self._cells = file.cells

    def inc(self, amount: float) -> None:
        """Adds to it. Readers see the old value or the new one, since 8 aligned bytes are written atomically."""
        with _LOCK:
            self._cells[self._at] += amount

    def set(self, value: float, timestamp: float | None = None) -> None:
        """Replaces it; `timestamp` is unix time in seconds."""
        with _LOCK:
            self._cells[self._at] = value
            self._cells[self._at + 1] = timestamp or 0.0

    def get(self) -> float:
        """Returns it."""
        return self._cells[self._at]

    def get_exemplar(self) -> None:
        """Returns None, which the library asks for at each collection: files have no place for exemplars."""


def observe(observed: Iterable[tuple[Value, Value, float]]) -> None:
    """Adds observations to histograms, each as (its sum, its bucket, amount)."""
    with _LOCK:
        for total, bucket, amount in observed:
            total._cells[total._at] += amount
            bucket._cells[bucket._at] += 1
