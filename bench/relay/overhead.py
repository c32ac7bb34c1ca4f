"""What assistants of one stack cost beside one that does nothing more than relay: they take turns within a round."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

from bench import results
from bench.relay import run
from bench.relay.peers import Peer
from bench.relay.run import BURST_1, BURST_32, Rounds
from bench.results import Goal

PLAIN = "plain"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")


def goals(found: Rounds, names: Sequence[str], *, added_ms: float, share: float) -> list[Goal]:
    """Judges each of `names` against `PLAIN`: added time at one client, streams at 32."""
    judged = []
    for name in names:
        added = run.pairs(found, name, PLAIN, BURST_1, "total_p50_ms", lambda a, b: a - b)
        text = f"{name}: p50 added at 1 client at most {added_ms:g} ms ({run.between(added)})"
        judged.append(Goal(text, round(statistics.median(added), 2), statistics.median(added) <= added_ms))
        left = run.pairs(found, name, PLAIN, BURST_32, "streams_per_s", lambda a, b: a / b)
        text = f"{name}: at 32 clients at least {share:g} of the plain streams/s ({run.between(left)})"
        judged.append(Goal(text, round(statistics.median(left), 2), statistics.median(left) >= share))
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    judged.append(Goal("streams that were not whole: 0", errors, errors == 0))
    return judged


def measure(peers: Sequence[Peer], options: argparse.Namespace) -> Rounds:
    """Measures all of `peers` in turns, at one client and at 32."""
    for peer in peers:
        run.warm_up(peer)
    return run.rounds(peers, options.rounds, options.seconds, (BURST_1, BURST_32))


def write(
    name: str,
    peers: Sequence[Peer],
    found: Rounds,
    judged: Sequence[Goal],
    facts: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Writes the figures of a benchmark."""
    said = settings(peers, options)
    results.write(name, run.rows(found), judged, facts, settings=said, rounds=single(found, "through"))


def settings(peers: Sequence[Peer], options: argparse.Namespace) -> dict[str, str]:
    """Returns how was measured, and what each peer is."""
    rounds = f"{options.rounds} of {options.seconds:g} s each"
    return {"Rounds": rounds, **{peer.name: peer.settings for peer in peers}}


def single(found: Rounds, of: str) -> list[dict[str, Any]]:
    """Returns the figures of each round; `of` names the column of the peers."""
    return [
        {of: peer, "clients": scenario.clients, "round": number, **figures}
        for (peer, scenario), measured in found.items()
        for number, figures in enumerate(measured, 1)
    ]
