"""The overhead of assistants over one that only relays, in the same stack; they take turns within a round."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from bench import results
from bench.relay import benchmark
from bench.relay.benchmark import BURST_1, BURST_32, Rounds
from bench.relay.peers import Peer
from bench.results import Goal

PLAIN = "plain"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")


def goals(found: Rounds, names: Sequence[str], *, added_ms: float, share: float) -> list[Goal]:
    """Compares each of `names` with `PLAIN`: added time with one client, streams per second with 32."""
    judged = []
    for name in names:
        added = benchmark.paired_figures(found, name, PLAIN, BURST_1, "total_p50_ms", lambda a, b: a - b)
        text = f"{name}: p50 added at 1 client at most {added_ms:g} ms ({benchmark.range_text(added)})"
        judged.append(Goal(text, round(statistics.median(added), 2), statistics.median(added) <= added_ms))
        left = benchmark.paired_figures(found, name, PLAIN, BURST_32, "streams_per_s", lambda a, b: a / b)
        text = f"{name}: at 32 clients at least {share:g} of the plain streams/s ({benchmark.range_text(left)})"
        judged.append(Goal(text, round(statistics.median(left), 2), statistics.median(left) >= share))
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    judged.append(Goal("incomplete streams: 0", errors, errors == 0))
    return judged


def measure(peers: Sequence[Peer], options: argparse.Namespace) -> Rounds:
    """Measures all `peers` in turn, with one client and with 32."""
    for peer in peers:
        benchmark.warm_up(peer)
    return benchmark.measure_rounds(peers, options.rounds, options.seconds, (BURST_1, BURST_32))


def write(
    name: str,
    peers: Sequence[Peer],
    found: Rounds,
    judged: Sequence[Goal],
    facts: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Writes the figures of a benchmark."""
    how = settings(peers, options)
    results.write(name, benchmark.rows(found), judged, facts, settings=how, rounds=round_figures(found, "through"))


def settings(peers: Sequence[Peer], options: argparse.Namespace) -> dict[str, str]:
    """Returns the settings of the measurement and of each peer."""
    rounds = f"{options.rounds} of {options.seconds:g} s each"
    return {"Rounds": rounds, **{peer.name: peer.settings for peer in peers}}


def round_figures(found: Rounds, column: str) -> list[dict[str, Any]]:
    """Returns the figures of each round; `column` is the name of the peers' column."""
    return [
        {column: peer, "clients": scenario.clients, "round": number, **figures}
        for (peer, scenario), measured in found.items()
        for number, figures in enumerate(measured, 1)
    ]
