"""What engines inside of replicas count themselves: the node's exporter passes it on.

An engine answers its replica alone, which has its key. So the replica asks, with each check of the engine's health, and
leaves the answer as text beside its own metrics; the exporter puts together those of replicas that live. Nobody else
needs to reach an engine, and a scrape waits for none.
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
"""How old an answer may be: it comes every ten seconds while a replica is well."""
MAX_BYTES = 4 << 20
"""Of one answer: some thirty times what vLLM says."""

_HELP = "# HELP "
_LEFT_OUT = {"vllm:lora_requests_info"}
"""It has a series, for ever, for each set of adapters that was ever in use."""


class MetricsSnapshot:
    """The file of this process's engine in `folder`; with no folder nothing is kept.

    `prefix` is how the names of the engine's metrics begin: its process and its Python are of no interest. Each sample
    gets `model`, which llama.cpp does not name, and `pid`, since replicas of one model may share a node.
    """

    def __init__(self, folder: Path | None, prefix: str, model: str) -> None:
        self._file = None if folder is None else folder / f"{os.getpid()}{ENGINE}"
        self._lock = Lock()
        self._prefix = prefix
        self._labels = {"model": model, "pid": str(os.getpid())}

    def write(self, exposition: str) -> None:
        """Replaces what was kept by an answer in Prometheus' text format.

        Raises `OSError`, and for what is none the parser's `ValueError`, `OverflowError` or another.
        """
        if self._file is None:
            return
        registry = CollectorRegistry()
        registry.register(_Parsed(list(self._own_metrics(exposition))))
        new = self._file.with_name(f"{self._file.name}.new")
        with self._lock:  # a check that took too long may still be at it
            new.write_bytes(generate_latest(registry))
            new.replace(self._file)

    def forget(self) -> None:
        """Keeps nothing, since the engine does not answer."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # it gets stale
                self._file.unlink(missing_ok=True)

    def _own_metrics(self, exposition: str) -> Iterator[Metric]:
        for metric in text_string_to_metric_families(exposition):
            if metric.name.startswith(self._prefix) and metric.name not in _LEFT_OUT:
                # When each series began is known to the engine, and asked for by nobody.
                samples = [s for s in metric.samples if not s.name.endswith("_created")]
                if metric.type == "counter" and f"# TYPE {metric.name} " in exposition:
                    # The parser adds the ending that a counter of llama.cpp's lacks.
                    metric.type = "unknown"
                    samples = [s._replace(name=metric.name) for s in samples]
                metric.samples = [Sample(s.name, self._labelled(s.labels), s.value) for s in samples]
                if samples:
                    yield metric

    def _labelled(self, labels: Mapping[str, str]) -> dict[str, str]:
        """Adds ours; what has the same name is renamed, as by a Prometheus that scrapes it."""
        return {f"exported_{n}" if n in self._labels else n: value for n, value in labels.items()} | self._labels


class _Parsed(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def merged(files: Iterable[Path]) -> bytes:
    """Returns what was kept and is not stale, each metric's lines together, as the format wants it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for file in files:
        try:
            metrics = [
                metric.split("\n", 2) for metric in _fresh(file).removeprefix(_HELP).split(f"\n{_HELP}") if metric
            ]
            blocks = [(help.split(" ", 1)[0], help, type, samples) for help, type, samples in metrics]
        except (OSError, ValueError):  # it takes nothing of others with it
            continue
        for name, help, type, said in blocks:
            header = f"{_HELP}{help}\n{type}\n"
            found.setdefault(name, (header, []))[1].append(said.rstrip("\n") + "\n")
    return "".join(header + "".join(samples) for header, samples in found.values()).encode()


def _fresh(file: Path) -> str:
    if time.time() - file.stat().st_mtime > STALE_S:
        return ""
    return file.read_bytes().decode()  # not as text, in which a carriage return would end a line
