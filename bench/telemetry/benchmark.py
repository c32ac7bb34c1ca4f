"""`python -m bench telemetry`: the cost of metrics, the request log and traces.

Gateways alone, each with a part of the telemetry, and without Ray Serve and HAProxy in front, whose share of the time
would hide the difference; and a whole stack, to compare the cost with what it spends on a stream. All of them run
over the same scripted upstream and take turns within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench import machine, results, stack
from bench.load import Target
from bench.processes import BenchError, running_process
from bench.relay import benchmark, overhead, peers, upstream
from bench.relay.benchmark import BURST_32, Rounds, Scenario
from bench.relay.peers import Peer
from bench.results import Goal
from bench.telemetry import ASSISTANT, sink
from serving.security.keys import new_key
from tools.environment import CHECKOUT

FIRST_PORT = 9722
WITHOUT = "without"
WITH = ("metrics", "metrics and log", "metrics, log and traces")
EVERY = "every request traced"
STACK = "a whole stack"
COST = 0.03
"""Largest acceptable share of a lone gateway's throughput, and of a stack's processor time."""
_TRACES = f"http://127.0.0.1:{sink.PORT}/from"
TRACE_BYTES = 500
"""Fewest bytes of a trace."""
_TAKEN = f"http://127.0.0.1:{sink.PORT}/taken"
_KINDS: dict[str, tuple[list[str], str]] = {
    WITHOUT: (["--silent"], "no metrics, no log, no traces"),
    WITH[0]: ([], "metrics in files for an exporter"),
    WITH[1]: (["--log"], "also a line for each request, the default of a stack"),
    WITH[2]: (["--log", "--traces", f"{_TRACES}/some"], "also spans for some requests per second, as by default"),
    EVERY: (
        ["--log", "--traces", f"{_TRACES}/every", "--every"],
        "also a span for each request, stage and call of a model",
    ),
}


@contextlib.contextmanager
def _sink(folder: Path) -> Iterator[None]:
    argv = [sys.executable, "-m", "bench.telemetry.sink", "--port", str(sink.PORT)]
    with running_process(argv, log=folder / "sink.log", ready=_TAKEN, env=_environment()):
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
    with running_process(argv, log=folder / "out.log", ready=f"{url}/healthz", env=env) as pids:
        yield Peer(name, Target(f"{url}/v1", ASSISTANT, key), pids, settings)


def _verify(folder: Path, name: str, streams: int) -> None:
    """Raises `BenchError` when the telemetry to be measured was not written."""
    counted = len(list(folder.glob("metrics/counter_*.db")))
    log = folder / "requests.log"
    lines = log.read_bytes().count(b"\n") if log.exists() else 0
    taken = httpx.get(_TAKEN, trust_env=False).raise_for_status().json()
    traced = {WITH[2]: taken.get("some", 0), EVERY: taken.get("every", 0)}.get(name)
    least = TRACE_BYTES * streams if name == EVERY else 1
    flags, _ = _KINDS[name]
    if (counted > 0) is (name == WITHOUT) or lines < streams * ("--log" in flags) or (traced or least) < least:
        found = f"{counted} metrics files, {lines} log lines and {traced} bytes of traces for {streams} requests"
        raise BenchError(f"{name}: {found}")


def _ratios(found: Rounds, name: str, scenario: Scenario, key: str) -> list[float]:
    return benchmark.paired_figures(found, name, WITHOUT, scenario, key, lambda a, b: a / b)


def goals(found: Rounds) -> list[Goal]:
    """Judges the figures with 32 clients: processor time is what limits a stack's throughput."""
    judged = []
    for name in WITH:
        added = _cpu_ms(found, name) - _cpu_ms(found, WITHOUT)
        share = added / _cpu_ms(found, STACK)
        text = f"{name}: at most {COST:g} of a stack's processor time per stream ({added * 1000:.0f} µs)"
        judged.append(Goal(text, round(share, 3), share <= COST))
    for name in WITH:
        left = _ratios(found, name, BURST_32, "streams_per_s")
        text = f"{name}: a gateway alone keeps at least {1 - COST:g} of its streams/s ({benchmark.range_text(left)})"
        judged.append(Goal(text, round(statistics.median(left), 3), statistics.median(left) >= 1 - COST))
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    judged.append(Goal("incomplete streams: 0", errors, errors == 0))
    return judged


def _cpu_ms(found: Rounds, name: str) -> float:
    """Returns the mean processor time per stream over all rounds, each of which alone varies much."""
    rounds = found[name, BURST_32]
    streams = [figures["streams"] for figures in rounds]
    return sum(n * figures["cpu_ms_per_stream"] for n, figures in zip(streams, rounds, strict=True)) / sum(streams)


def rows(found: Rounds) -> list[dict[str, Any]]:
    """Returns the medians, and the ratios to a gateway without telemetry with their ranges over rounds."""
    scenarios = {(scenario.name, scenario.clients): scenario for _, scenario in found}
    figures = {"streams/s": "streams_per_s", "total p50 ms": "total_p50_ms", "CPU ms per stream": "cpu_ms_per_stream"}
    table = []
    for row in benchmark.rows(found):
        scenario = scenarios[row["chunks"], row["clients"]]
        figures_row: dict[str, Any] = {"telemetry": row["through"], "clients": row["clients"]}
        for name, key in figures.items():
            ratios = _ratios(found, row["through"], scenario, key)
            figures_row[name] = row[name]
            figures_row[f"ratio of {name}"] = (
                f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
            )
        table.append(figures_row | {"errors": row["errors"]})
    return table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")


def main(options: argparse.Namespace) -> None:
    """Brings the stack up, runs the benchmark and writes its figures; brings it down unless it was already up."""
    facts = machine.facts()
    with contextlib.ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory()))
        ended.enter_context(peers.scripted_upstream())
        whole = dataclasses.replace(benchmark.headrace(ended.enter_context(stack.ensure_up())), name=STACK)
        ended.enter_context(_sink(folder))
        up = [ended.enter_context(_gateway(name, FIRST_PORT + n, folder / str(n))) for n, name in enumerate(_KINDS)]
        found = overhead.measure([*up, whole], options)
        for n, name in enumerate(_KINDS):
            streams = sum(figures["streams"] for (of, _), all_ in found.items() if of == name for figures in all_)
            _verify(folder / str(n), name, streams)
    how = overhead.settings([*up, whole], options)
    single = overhead.round_figures(found, "telemetry")
    results.write("telemetry", rows(found), goals(found), facts, settings=how, rounds=single)
