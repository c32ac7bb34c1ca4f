"""`python -m bench telemetry`: what metrics, the log of requests and traces cost.

Gateways alone, without Ray Serve and HAProxy before them, whose share of the time would hide what is measured, with a
part of their telemetry on each; and a whole stack, to set that against what it spends on a stream. All of them are up
over the same scripted upstream, and take turns within a round.
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
STACK = "a whole stack"
COST = 0.03
"""Of the throughput: of the streams of a gateway alone, and of the processor time of a stack."""
_TRACES = f"http://127.0.0.1:{sink.PORT}/from"
TRACE_BYTES = 500
"""Of a trace, at least."""
_TAKEN = f"http://127.0.0.1:{sink.PORT}/taken"
_KINDS: dict[str, tuple[list[str], str]] = {
    WITHOUT: (["--silent"], "counting is taken out of the program, no log, no traces"),
    WITH[0]: ([], "files that an exporter reads"),
    WITH[1]: (["--log"], "and a line for each request: what a stack has by default"),
    WITH[2]: (["--log", "--traces", f"{_TRACES}/some"], "and spans for some requests a second, as many as by default"),
    EVERY: (
        ["--log", "--traces", f"{_TRACES}/every", "--every"],
        "and a span for each request, stage and question to a model",
    ),
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
    taken = httpx.get(_TAKEN, trust_env=False).raise_for_status().json()
    traced = {WITH[2]: taken.get("some", 0), EVERY: taken.get("every", 0)}.get(name)
    least = TRACE_BYTES * streams if name == EVERY else 1
    flags, _ = _KINDS[name]
    if (counted > 0) is (name == WITHOUT) or lines < streams * ("--log" in flags) or (traced or least) < least:
        said = f"{counted} files of metrics, {lines} lines and {traced} bytes of traces of {streams} requests"
        raise BenchError(f"{name}: {said}")


def _ratios(found: Rounds, name: str, scenario: Scenario, key: str) -> list[float]:
    return run.pairs(found, name, WITHOUT, scenario, key, lambda a, b: a / b)


def goals(found: Rounds) -> list[Goal]:
    """Judges at 32 clients: a stack's processor time is what bounds its throughput."""
    judged = []
    for name in WITH:
        added = _cpu_ms(found, name) - _cpu_ms(found, WITHOUT)
        share = added / _cpu_ms(found, STACK)
        text = f"{name}: at most {COST:g} of a stack's processor time for a stream ({added * 1000:.0f} µs)"
        judged.append(Goal(text, round(share, 3), share <= COST))
    for name in WITH:
        left = _ratios(found, name, BURST_32, "streams_per_s")
        text = f"{name}: a gateway alone keeps at least {1 - COST:g} of its streams/s ({run.between(left)})"
        judged.append(Goal(text, round(statistics.median(left), 3), statistics.median(left) >= 1 - COST))
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    judged.append(Goal("streams that were not whole: 0", errors, errors == 0))
    return judged


def _cpu_ms(found: Rounds, name: str) -> float:
    """Returns the processor time of a stream over all rounds, of which each alone has much chance in it."""
    rounds = found[name, BURST_32]
    streams = [figures["streams"] for figures in rounds]
    return sum(n * figures["cpu_ms_per_stream"] for n, figures in zip(streams, rounds, strict=True)) / sum(streams)


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
    """Runs the benchmark and writes its figures. The stack is brought up first, and down unless it was up."""
    facts = machine.facts()
    with contextlib.ExitStack() as ended:
        folder = Path(ended.enter_context(tempfile.TemporaryDirectory()))
        ended.enter_context(peers.direct())
        whole = dataclasses.replace(run.headrace(ended.enter_context(stack.running())), name=STACK)
        ended.enter_context(_sink(folder))
        up = [ended.enter_context(_gateway(name, FIRST_PORT + n, folder / str(n))) for n, name in enumerate(_KINDS)]
        found = overhead.measure([*up, whole], options)
        for n, name in enumerate(_KINDS):
            streams = sum(figures["streams"] for (of, _), all_ in found.items() if of == name for figures in all_)
            _verify(folder / str(n), name, streams)
    said = overhead.settings([*up, whole], options)
    single = overhead.single(found, "telemetry")
    results.write("telemetry", rows(found), goals(found), facts, settings=said, rounds=single)
