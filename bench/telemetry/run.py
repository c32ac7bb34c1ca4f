"""`python -m bench telemetry`: what a gateway loses by metrics, the log of requests and traces.

One gateway, without Ray Serve and HAProxy before it, whose share of the time would hide what is measured; with a part
of its telemetry on each: all of them are up over the same scripted upstream, and take turns within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench import machine, results
from bench.load import Target
from bench.processes import BenchError, started
from bench.relay import overhead, peers, run, upstream
from bench.relay.peers import Peer
from bench.relay.run import BURST_32, Rounds, Scenario
from bench.results import Goal
from bench.telemetry import ASSISTANT, sink
from serving.security.keys import new_key
from tools.environment import CHECKOUT

FIRST_PORT = 9722
WITHOUT = "without"
WITH = ("metrics", "metrics and log", "metrics, log and traces")
EVERY = "every request traced"
SHARE = 0.97
"""Of the streams of a gateway without telemetry, at least so many are left."""
_TRACES = f"http://127.0.0.1:{sink.PORT}/v1/traces"
_TAKEN = f"http://127.0.0.1:{sink.PORT}/taken"
_KINDS: dict[str, tuple[list[str], str]] = {
    WITHOUT: (["--silent"], "counting is taken out of the program, no log, no traces"),
    WITH[0]: ([], "files that an exporter reads"),
    WITH[1]: (["--log"], "and a line for each request: what a stack has by default"),
    WITH[2]: (["--log", "--traces", _TRACES], "and spans for some requests a second, as many as by default"),
    EVERY: (["--log", "--traces", _TRACES, "--every"], "and a span for each request, stage and question to a model"),
}


@contextlib.contextmanager
def _sink(folder: Path) -> Iterator[None]:
    argv = [sys.executable, "-m", "bench.telemetry.sink", "--port", str(sink.PORT)]
    with started(argv, log=folder / "sink.log", ready=_TAKEN, env=_environment()):
        yield


def _environment(**added: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **added}


@contextlib.contextmanager
def _gateway(name: str, port: int, folder: Path) -> Iterator[Peer]:
    flags, settings = _KINDS[name]
    folder.mkdir()
    key = new_key()
    (folder / "hash").write_text("h" * 40)
    (folder / "key").write_text(key)
    env = _environment()
    env.pop("PROMETHEUS_MULTIPROC_DIR", None)
    if name != WITHOUT:
        (folder / "metrics").mkdir()
        env["PROMETHEUS_MULTIPROC_DIR"] = str(folder / "metrics")
    argv = [sys.executable, "-m", "bench.telemetry.gateway", str(folder), "--port", str(port)]
    argv += ["--upstream", str(upstream.PORT), *flags]
    url = f"http://127.0.0.1:{port}"
    with started(argv, log=folder / "out.log", ready=f"{url}/healthz", env=env) as pids:
        yield Peer(name, Target(f"{url}/v1", ASSISTANT, key), pids, settings)


def _verify(folder: Path, name: str, streams: int) -> None:
    """Raises `BenchError` when telemetry that was to be measured was not there."""
    counted = len(list(folder.glob("metrics/counter_*.db")))
    log = folder / "requests.log"
    lines = log.read_bytes().count(b"\n") if log.exists() else 0
    traced = bool(httpx.get(_TAKEN, trust_env=False).raise_for_status().json())
    flags, _ = _KINDS[name]
    if (counted > 0) is (name == WITHOUT) or lines < streams * ("--log" in flags) or not traced:
        raise BenchError(f"{name}: {counted} files of metrics, {lines} lines of {streams} requests, traces: {traced}")


def _ratios(found: Rounds, name: str, scenario: Scenario, key: str) -> list[float]:
    return run.pairs(found, name, WITHOUT, scenario, key, lambda a, b: a / b)


def goals(found: Rounds) -> list[Goal]:
    """Judges streams at 32 clients."""
    judged = []
    for name in WITH:
        left = _ratios(found, name, BURST_32, "streams_per_s")
        text = f"{name}: at 32 clients at least {SHARE:g} of the streams/s without telemetry ({run.between(left)})"
        judged.append(Goal(text, round(statistics.median(left), 3), statistics.median(left) >= SHARE))
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    judged.append(Goal("streams that were not whole: 0", errors, errors == 0))
    return judged


def rows(found: Rounds) -> list[dict[str, Any]]:
    """Returns the medians, and the ratios to what is without telemetry with their ranges over rounds."""
    scenarios = {(scenario.name, scenario.clients): scenario for _, scenario in found}
    figures = {"streams/s": "streams_per_s", "total p50 ms": "total_p50_ms", "CPU ms a stream": "cpu_ms_per_stream"}
    table = []
    for row in run.rows(found):
        scenario = scenarios[row["chunks"], row["clients"]]
        shown: dict[str, Any] = {"telemetry": row["through"], "clients": row["clients"]}
        for name, key in figures.items():
            ratios = _ratios(found, row["through"], scenario, key)
            shown[name] = row[name]
            shown[f"ratio of {name}"] = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        table.append(shown | {"errors": row["errors"]})
    return table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one measurement")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    with contextlib.ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory()))
        ended.enter_context(peers.direct())
        ended.enter_context(_sink(folder))
        up = [ended.enter_context(_gateway(name, FIRST_PORT + n, folder / str(n))) for n, name in enumerate(_KINDS)]
        found = overhead.measure(up, options)
        for n, name in enumerate(_KINDS):
            streams = sum(figures["streams"] for (of, _), all_ in found.items() if of == name for figures in all_)
            _verify(folder / str(n), name, streams)
    said = overhead.settings(up, options)
    single = overhead.single(found, "telemetry")
    results.write("telemetry", rows(found), goals(found), facts, settings=said, rounds=single)
