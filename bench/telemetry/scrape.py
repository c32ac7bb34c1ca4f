"""`python -m bench scrape`: the duration of a scrape on a node with many tenants, many models and many dead processes.

The exporter reads the files of all processes that write metrics. At a scrape it folds those of dead processes into one
file per kind of metric; before, a scrape reads all of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from bench import machine, results
from bench.processes import BenchError, running_process
from bench.results import Goal
from bench.telemetry.node_labels import NodeLabels
from tools.environment import CHECKOUT

PORT = 9726
LIVE = 2
"""Processes that stay alive: the gateways of a node."""
BATCH = 4
"""Emitters that are started at the same time."""
MOST_MS = 250.0


class Emitters:
    """Live processes that have written their metrics."""

    def __init__(self, folder: Path, count: int, world: NodeLabels) -> None:
        self._env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self._world = json.dumps(asdict(world)) + "\n"
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for first in range(0, count, BATCH):
                self._start(min(BATCH, count - first))
        except BaseException:
            self.end(0)
            raise

    def _start(self, count: int) -> None:
        argv = [sys.executable, "-m", "bench.telemetry.emitter"]
        begun = [
            subprocess.Popen(argv, env=self._env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        self._processes += begun
        for process in begun:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it exited, which is reported below
                process.stdin.write(self._world)
                process.stdin.flush()
        for process in begun:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise BenchError("an emitter exited; its error is above")

    def end(self, left: int) -> None:
        """Kills all but `left` processes."""
        while len(self._processes) > left:
            process = self._processes.pop()
            process.kill()
            process.communicate()


def _files(folder: Path) -> dict[str, Any]:
    """Returns the number of metrics files and the megabytes written in them, which are preallocated larger."""
    found = list(folder.glob("*.db"))
    used = 0
    for path in found:
        with path.open("rb") as file:
            used += int.from_bytes(file.read(4), sys.byteorder)
    return {"files": len(found), "MB in files": round(used / 1e6, 2)}


def _scrapes(folder: Path, count: int, subject: str) -> dict[str, Any]:
    files, times, text = _files(folder), [], ""
    for _ in range(count):
        began = time.perf_counter()
        text = httpx.get(f"http://127.0.0.1:{PORT}/metrics", trust_env=False, timeout=120).raise_for_status().text
        times.append(1000 * (time.perf_counter() - began))
    print(f"{subject}: {[round(t) for t in times]} ms", file=sys.stderr, flush=True)
    return {
        "a scrape of": subject,
        **files,
        "series": sum(1 for line in text.splitlines() if not line.startswith("#")),
        "MB answered": round(len(text) / 1e6, 2),
        "scrapes": count,
        "p50 ms": round(statistics.median(times), 1),
        "max ms": round(max(times), 1),
    }


@contextlib.contextmanager
def _exporter(folder: Path, log: Path) -> Iterator[None]:
    argv = [sys.executable, "-m", "serving.telemetry.exporter", "--dir", str(folder), "--port", str(PORT)]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    with running_process(argv, log=log, ready=f"http://127.0.0.1:{PORT}/healthz", env=env):
        yield


def _routes() -> list[str]:
    from serving.api.operations import OPERATIONS  # imported late: it loads the whole gateway

    return sorted({op.path for op in OPERATIONS})


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Judges a scrape after the files of dead processes were folded."""
    p50 = rows[-1]["p50 ms"]
    return [Goal(f"a scrape once they are folded: p50 at most {MOST_MS:g} ms", p50, p50 <= MOST_MS)]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--dead", type=int, default=30, help="processes that die")
    parser.add_argument("--scrapes", type=int, default=20, help="scrapes after the files are folded")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    world = NodeLabels(_routes(), options.tenants, options.models)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "metrics"
        folder.mkdir()
        with _exporter(folder, Path(name) / "exporter.log"):
            emitters = Emitters(folder, options.dead + LIVE, world)
            try:
                rows = [_scrapes(folder, 3, f"{options.dead + LIVE} processes that live")]
                emitters.end(LIVE)
                rows.append(_scrapes(folder, 1, f"{LIVE} that live and {options.dead} dead ones, which it folds"))
                rows.append(_scrapes(folder, options.scrapes, f"{LIVE} that live, once the others are folded"))
            finally:
                emitters.end(0)
    settings = {"Labels": f"{options.tenants} tenants, {options.models} models, {len(world.routes)} routes"}
    results.write("scrape", rows, goals(rows), facts, settings=settings)
