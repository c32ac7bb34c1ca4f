"""`python -m bench relay`: streams per second, time to first token and processor time, in interleaved rounds.

All peers run during the whole benchmark, over the same upstream, and take turns within a round, so that whatever
else the machine does affects all of them. A figure is the median over rounds; a ratio is the median of the
rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import load, machine, results, stack
from bench.processes import BenchError, cpu_seconds
from bench.relay import memory, peers, upstream
from bench.relay.peers import Peer
from bench.results import Goal

WARM_UP = 100
"""Requests before the first round, for connections, caches and lazy imports."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A prompt, which is the upstream's script, and a number of clients."""

    name: str
    say: str
    clients: int

    @property
    def documents(self) -> list[dict[str, Any]]:
        return [{"messages": [{"role": "user", "content": self.say}]}]


BURST_1 = Scenario("burst", "Say fifty words.", 1)
BURST_32 = Scenario("burst", "Say fifty words.", 32)
PACED_32 = Scenario("paced", "Say fifty words, pause 2 ms after each.", 32)
SCENARIOS = (BURST_1, BURST_32, PACED_32)
Rounds = dict[tuple[str, Scenario], list[dict[str, Any]]]


def headrace(running: stack.Stack) -> Peer:
    """Returns Headrace with its whole path: HAProxy, gateway (key, validation, metrics, plain assistant), upstream."""
    return Peer("headrace", running.target("relay"), running.pids, "Pulumi.bench.yaml: HAProxy, 2 gateway replicas")


@contextlib.contextmanager
def running_peers(names: Sequence[str], existing: stack.Stack | None) -> Iterator[list[Peer]]:
    """Runs the upstream and the peers with these names; `existing` is a Headrace that already runs."""
    with contextlib.ExitStack() as ended:
        up = [ended.enter_context(peers.scripted_upstream())]
        for name, start in (("litellm", peers.litellm), ("vllm-router", peers.vllm_router)):
            if name in names:
                up.append(ended.enter_context(start()))
        if "headrace" in names:
            up.append(headrace(existing or ended.enter_context(stack.ensure_up())))
        for peer in up:
            warm_up(peer)
        yield up


def warm_up(peer: Peer) -> None:
    seen = _load(peer, BURST_32, seconds=10, requests=WARM_UP)
    if seen.errors or not seen.streams:
        raise BenchError(f"{peer.name} does not relay: {dict(seen.errors)}")


def _load(peer: Peer, scenario: Scenario, *, seconds: float, requests: int | None = None) -> load.Result:
    documents = [{**document, **fields} for document in scenario.documents for fields in peer.fields]
    clients = scenario.clients
    return asyncio.run(
        load.run(peer.target, documents, clients=clients, seconds=seconds, requests=requests, expected=upstream.TEXT)
    )


def measure(peer: Peer, scenario: Scenario, seconds: float) -> dict[str, Any]:
    """Returns the figures of one measurement."""
    before = cpu_seconds(peer.pids())
    seen = _load(peer, scenario, seconds=seconds)
    cpu = cpu_seconds(peer.pids()) - before
    figures = seen.summary()
    return figures | {"cpu_ms_per_stream": round(1000 * cpu / len(seen.streams), 2) if seen.streams else None}


def measure_rounds(up: Sequence[Peer], count: int, seconds: float, scenarios: Sequence[Scenario] = SCENARIOS) -> Rounds:
    """Measures every peer in every scenario `count` times, in rotating order."""
    found: Rounds = defaultdict(list)
    for number in range(count):
        order = [*up[number % len(up) :], *up[: number % len(up)]]
        for scenario in scenarios:
            for peer in order:
                figures = measure(peer, scenario, seconds)
                found[peer.name, scenario].append(figures)
                print(f"round {number + 1}: {peer.name}, {scenario.name}: {figures}", file=sys.stderr, flush=True)
    return found


def rows(found: Rounds) -> list[dict[str, Any]]:
    """Returns the medians as rows of the page."""
    table = []
    for (name, scenario), measured in sorted(found.items(), key=lambda item: SCENARIOS.index(item[0][1])):
        names = {
            "streams_per_s": "streams/s",
            "first_token_p50_ms": "TTFT p50 ms",
            "first_token_p99_ms": "TTFT p99 ms",
            "total_p50_ms": "total p50 ms",
            "cpu_ms_per_stream": "CPU ms per stream",
        }
        medians = {title: round(_median(measured, key), 2) for key, title in names.items()}
        errors = sum(sum(m["errors"].values()) for m in measured)
        table.append(
            {"through": name, "chunks": scenario.name, "clients": scenario.clients, **medians, "errors": errors}
        )
    return table


def goals(found: Rounds) -> list[Goal]:
    """Returns the goals that can be judged with the measured peers."""
    judged = []
    for peer, least in (("litellm", 20.0), ("vllm-router", 0.5)):
        if ratios := paired_figures(found, "headrace", peer, BURST_32, "streams_per_s", lambda a, b: a / b):
            ratio = statistics.median(ratios)
            text = f"at 32 clients at least {least:g} x {peer}'s streams/s ({range_text(ratios)})"
            judged.append(Goal(text, round(ratio, 2), ratio >= least))
    if added := paired_figures(found, "headrace", "upstream", BURST_1, "first_token_p50_ms", lambda a, b: a - b):
        text = f"TTFT p50 added at 1 client at most 5 ms ({range_text(added)})"
        judged.append(Goal(text, round(statistics.median(added), 2), statistics.median(added) <= 5))
    errors = sum(sum(m["errors"].values()) for (name, _), ms in found.items() for m in ms if name == "headrace")
    judged.append(Goal("incomplete streams through Headrace: 0", errors, errors == 0))
    return judged


def paired_figures(
    found: Rounds, one: str, other: str, scenario: Scenario, key: str, combine: Callable[[float, float], float]
) -> list[float]:
    """Returns `combine` of a figure of two peers for each round; empty if one of them was not measured."""
    left, right = found.get((one, scenario), []), found.get((other, scenario), [])
    return [combine(a[key], b[key]) for a, b in zip(left, right, strict=True)] if left and right else []


def _median(measured: Sequence[dict[str, Any]], key: str) -> float:
    return float(statistics.median([m[key] for m in measured if m[key] is not None] or [float("nan")]))


def range_text(values: Sequence[float]) -> str:
    """Returns the range of a figure as text."""
    return f"rounds from {min(values):.2f} to {max(values):.2f}"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    known = ("litellm", "vllm-router", "headrace")
    parser.add_argument(
        "--peers", nargs="*", choices=known, default=known, help="peers to measure, besides the upstream"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    parser.add_argument(
        "--requests", type=int, default=0, help="instead sample Headrace's memory over this many requests"
    )
    parser.add_argument("--url", help="URL of a running Headrace with an assistant called relay")
    parser.add_argument("--key", default="", help="its API key")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    existing = stack.Stack(options.url, options.key) if options.url else None
    facts = machine.facts()
    if options.requests:
        with running_peers(["headrace"], existing) as up:
            memory.run(up[-1], BURST_32.documents, options.requests, facts)
        return
    with running_peers(options.peers, existing) as up:
        found = measure_rounds(up, options.rounds, options.seconds)
        for peer in up:
            facts["versions"] |= peer.versions
        settings = {"Rounds": f"{options.rounds} of {options.seconds:g} s each"}
        settings |= {peer.name: peer.settings for peer in up}
    single = [
        {"through": name, "chunks": s.name, "round": i + 1, **m}
        for (name, s), ms in found.items()
        for i, m in enumerate(ms)
    ]
    results.write("relay", rows(found), goals(found), facts, settings=settings, rounds=single)
