"""The node's metrics exporter: publishes each sample of every Serve replica exactly once for Prometheus.

Replicas write `prometheus-client`'s multiprocess files, and snapshots of their engines' metrics; this process reads
them. Files of dead replicas would stay on disk and make scrapes slower with every restart: they are folded into one
archive per metric type, in a way that a crash at any point neither loses nor duplicates a sample.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from serving.telemetry import engines, holders
from serving.telemetry.sums import Sums

ARCHIVED = ("counter", "histogram")
"""Metric types whose sums outlive their process; gauges of dead processes are meaningless."""


class Archive:
    """Folds the files of dead processes in `folder`, which belongs to one exporter."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._intent = folder / "fold.json"

    def recover(self) -> None:
        """Completes or undoes a fold that a crash interrupted."""
        if not self._intent.exists():
            return
        fold = json.loads(self._intent.read_text())
        staged = self._folder / fold["staged"]
        if staged.exists():  # the deciding rename has not happened
            staged.unlink()
        else:
            self._remove(fold["sources"])
        self._intent.unlink()

    def fold(self) -> None:
        """Folds the files of all dead processes, one metric type at a time."""
        files = {p.name: pid for p in self._folder.glob("*_*.db") if (pid := p.stem.rsplit("_", 1)[1]).isdigit()}
        files |= {p.name: p.name.split(".", 1)[0] for p in self._folder.glob(f"*{holders.ENGINE}*")}
        with holders.dead(self._folder, set(files.values())) as gone:
            names = [name for name, pid in files.items() if pid in gone]
            for kind in ARCHIVED:
                sources = [name for name in names if name.startswith(f"{kind}_")]
                if sources:
                    self._fold(kind, sources)
            self._remove([name for name in names if name.startswith("gauge_") or holders.ENGINE in name])

    def _fold(self, kind: str, sources: list[str]) -> None:
        target = self._folder / f"{kind}_folded.db"
        staged = self._folder / f"{kind}_folded.db.staged"
        staged.unlink(missing_ok=True)
        sums: dict[str, float] = {}
        for path in ([target] if target.exists() else []) + [self._folder / s for s in sources]:
            for key, value, _timestamp, _position in MmapedDict.read_all_values_from_file(str(path)):  # type: ignore[no-untyped-call]
                sums[key] = sums.get(key, 0.0) + value
        archive = MmapedDict(str(staged))  # type: ignore[no-untyped-call]
        for key, value in sums.items():
            archive.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        archive.close()  # type: ignore[no-untyped-call]
        _write_durably(self._intent, json.dumps({"staged": staged.name, "sources": sources}))
        staged.rename(target)
        self._remove(sources)
        self._intent.unlink()

    def _remove(self, names: list[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)


def _write_durably(path: Path, text: str) -> None:
    with path.open("w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())


class _Gauges(Collector):
    """Gauges in files: few, each with its own aggregation."""

    def __init__(self, files: list[Path]) -> None:
        self._files = [str(path) for path in files]

    def collect(self) -> Iterable[Metric]:
        return MultiProcessCollector.merge(self._files)  # type: ignore[no-untyped-call, no-any-return]


class Exporter:
    """Renders the metrics in the folder, one scrape at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._archive = Archive(folder)
        self._archive.recover()
        self._sums = Sums()
        self._lock = threading.Lock()

    def render(self) -> bytes:
        """Returns the exposition in Prometheus' text format."""
        with self._lock:
            self._archive.fold()
            files = sorted(self._folder.glob("*.db"))
            summed = [path for path in files if path.name.startswith(ARCHIVED)]
            registry = CollectorRegistry()
            registry.register(_Gauges([path for path in files if path not in summed]))
            said = engines.merged(sorted(self._folder.glob(f"*{holders.ENGINE}")))
            return self._sums.render(summed).encode() + generate_latest(registry) + said


def serve(folder: Path, host: str, port: int) -> ThreadingHTTPServer:
    """Returns a bound server; `port` 0 selects a free one. Raises `OSError` when the port is in use."""
    exporter = Exporter(folder)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if self.path not in ("/metrics", "/healthz"):
                self.send_error(404)
                return
            body = exporter.render() if self.path == "/metrics" else b"ok\n"
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE_LATEST if self.path == "/metrics" else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return Server((host, port), Handler)


def main(argv: list[str] | None = None) -> int:
    """Runs the exporter until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m serving.telemetry.exporter", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="prometheus-client's multiprocess folder")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args(argv)
    try:
        server = serve(args.dir, args.host, args.port)
    except OSError as e:
        what = f"use {e.filename}" if e.filename else f"serve on {args.host} port {args.port}"
        print(f"exporter: cannot {what}: {e.strerror}", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
