"""`python -m bench scrape`: what a scrape takes on a node with many tenants and models whose processes died often.

The exporter reads the files of all processes that write metrics. Those of dead processes it folds into one file per
kind, when it is next asked: before, a scrape reads all of them.
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
from bench.processes import BenchError, started
from bench.results import Goal
from bench.telemetry.world import World
from tools.environment import CHECKOUT

PORT = 9726
LIVE = 2
"""Processes that are left: the gateways of a node."""
TOGETHER = 4
"""Emitters that start at a time."""
MOST_MS = 250.0


class Emitters:
    """Processes that wrote their metrics and live."""

    def __init__(self, folder: Path, count: int, world: World) -> None:
        self._env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self._world = json.dumps(asdict(world)) + "\n"
        self._processes: list[subprocess.Popen[str]] = []
        try:
            for first in range(0, count, TOGETHER):
                self._start(min(TOGETHER, count - first))
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
            with contextlib.suppress(BrokenPipeError):  # it ended, which is said below
                process.stdin.write(self._world)
                process.stdin.flush()
        for process in begun:
            assert process.stdout is not None
            if not process.stdout.readline():
                raise BenchError("an emitter ended by itself; what it said is above")

    def end(self, left: int) -> None:
        """Kills all but `left` of them."""
        while len(self._processes) > left:
            process = self._processes.pop()
            process.kill()
            process.communicate()


def _files(folder: Path) -> dict[str, Any]:
    """Returns how many files of metrics there are, and what is written in them; each is as large as prepared."""
    found = list(folder.glob("*.db"))
    used = 0
    for path in found:
        with path.open("rb") as file:
            used += int.from_bytes(file.read(4), sys.byteorder)
    return {"files": len(found), "MB in files": round(used / 1e6, 2)}


def _scrapes(folder: Path, count: int, of: str) -> dict[str, Any]:
    files, times, text = _files(folder), [], ""
    for _ in range(count):
        began = time.perf_counter()
        text = httpx.get(f"http://127.0.0.1:{PORT}/metrics", trust_env=False, timeout=120).raise_for_status().text
        times.append(1000 * (time.perf_counter() - began))
    print(f"{of}: {[round(t) for t in times]} ms", file=sys.stderr, flush=True)
    return {
        "a scrape of": of,
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
    with started(argv, log=log, ready=f"http://127.0.0.1:{PORT}/healthz", env=env):
        yield


def _routes() -> list[str]:
    from serving.api.operations import OPERATIONS  # loads the whole gateway, which other benchmarks need not wait for

    return sorted({op.path for op in OPERATIONS})


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    """Judges a scrape after the dead processes' files were folded."""
    p50 = rows[-1]["p50 ms"]
    return [Goal(f"a scrape once they are folded: p50 at most {MOST_MS:g} ms", p50, p50 <= MOST_MS)]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--dead", type=int, default=30, help="processes that die")
    parser.add_argument("--scrapes", type=int, default=20, help="once their files are folded")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    world = World(_routes(), options.tenants, options.models)
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
