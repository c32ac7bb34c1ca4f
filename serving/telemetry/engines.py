"""Metrics of engines inside of replicas, which the node's exporter publishes.

Only the replica has its engine's key. With each health check, the replica therefore reads the engine's metrics and
stores them as text beside its own; the exporter merges those of live replicas. No other process needs access to an
engine, and a scrape waits for none.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from serving.telemetry.holders import ENGINE

STALE_S = 60.0
"""Maximum age of a snapshot; a healthy replica writes one every ten seconds."""
MAX_BYTES = 4 << 20
"""Maximum size of one snapshot: some thirty times what vLLM emits."""

_HELP = "# HELP "
_LEFT_OUT = {"vllm:lora_requests_info"}
"""It has a permanent series for each set of adapters that was ever in use."""


class MetricsSnapshot:
    """The file of this process's engine in `folder`; without a folder nothing is stored.

    Only metrics whose names begin with `prefix` are stored, without those of the engine's process and Python runtime.
    Each sample gets the labels `model`, which llama.cpp does not have, and `pid`, since replicas of one model may share
    a node.
    """

    def __init__(self, folder: Path | None, prefix: str, model: str) -> None:
        self._file = None if folder is None else folder / f"{os.getpid()}{ENGINE}"
        self._lock = Lock()
        self._prefix = prefix
        self._labels = {"model": model, "pid": str(os.getpid())}

    def write(self, exposition: str) -> None:
        """Replaces the snapshot by an exposition in Prometheus' text format.

        Raises `OSError`, and for an invalid one the parser's `ValueError`, `OverflowError` or another error.
        """
        if self._file is None:
            return
        registry = CollectorRegistry()
        registry.register(_Parsed(list(self._own_metrics(exposition))))
        new = self._file.with_name(f"{self._file.name}.new")
        with self._lock:  # a check that took too long may still be writing
            new.write_bytes(generate_latest(registry))
            new.replace(self._file)

    def forget(self) -> None:
        """Removes the snapshot, since the engine does not answer."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it becomes stale by itself
                self._file.unlink(missing_ok=True)

    def _own_metrics(self, exposition: str) -> Iterator[Metric]:
        for metric in text_string_to_metric_families(exposition):
            if metric.name.startswith(self._prefix) and metric.name not in _LEFT_OUT:
                # Only the engine knows when each series began, and nobody needs it.
                samples = [s for s in metric.samples if not s.name.endswith("_created")]
                if metric.type == "counter" and f"# TYPE {metric.name} " in exposition:
                    # The parser adds the suffix that llama.cpp's counters lack.
                    metric.type = "unknown"
                    samples = [s._replace(name=metric.name) for s in samples]
                metric.samples = [Sample(s.name, self._labelled(s.labels), s.value) for s in samples]
                if samples:
                    yield metric

    def _labelled(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Adds the labels; existing ones of the same name are renamed, as by a scraping Prometheus."""
        return {f"exported_{n}" if n in self._labels else n: value for n, value in labels.items()} | self._labels


class _Parsed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def merged(files: Iterable[Path]) -> bytes:
    """Returns all snapshots that are not stale, with the lines of each metric grouped, as the format requires."""
    found: dict[str, tuple[str, list[str]]] = {}
    for file in files:
        try:
            metrics = [
                metric.split("\n", 2) for metric in _fresh(file).removeprefix(_HELP).split(f"\n{_HELP}") if metric
            ]
            blocks = [(help.split(" ", 1)[0], help, type, samples) for help, type, samples in metrics]
        except (OSError, ValueError):  # other snapshots are not affected
            continue
        for name, help, type, said in blocks:
            header = f"{_HELP}{help}\n{type}\n"
            found.setdefault(name, (header, []))[1].append(said.rstrip("\n") + "\n")
    return "".join(header + "".join(samples) for header, samples in found.values()).encode()


def _fresh(file: Path) -> str:
    if time.time() - file.stat().st_mtime > STALE_S:
        return ""
    return file.read_bytes().decode()  # not in text mode, in which a carriage return would end a line
