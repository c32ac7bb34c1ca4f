"""`python -m bench kept`: what it costs that an answer is stored, and that a conversation is remembered.

Three assistants of one stack are asked over the same scripted upstream: one that keeps nothing, one whose answers are
captured, and one that goes on with conversations and is captured too. They take turns within a round.
"""

from __future__ import annotations

import argparse
import statistics

import httpx

from bench import machine, results, stack
from bench.relay import peers, run
from bench.relay.peers import Peer
from bench.relay.run import BURST_1, BURST_32, Rounds
from bench.results import Goal

CONVERSATIONS = 64
"""That clients take in turn: more than clients, so that seldom two go on with the same one."""

ADDED_MS, SHARE = 3.0, 0.75


def _conversations(running: stack.Stack) -> tuple[dict[str, str], ...]:
    headers = {"Authorization": f"Bearer {running.key}"}
    with httpx.Client(base_url=f"{running.url}/v1", headers=headers, trust_env=False, timeout=30) as http:
        made = (http.post("/conversations", json={}).raise_for_status().json() for _ in range(CONVERSATIONS))
        return tuple({"conversation": str(conversation["id"])} for conversation in made)


def _peers(running: stack.Stack) -> list[Peer]:
    pids = stack.pids
    return [
        Peer("plain", running.target("relay"), pids, "nothing is stored"),
        Peer("captured", running.target("captured"), pids, "each answer is captured"),
        Peer(
            "conversation",
            running.target("remembers"),
            pids,
            f"captured, and {CONVERSATIONS} conversations go on, of which the 4 newest turns are shown",
            fields=_conversations(running),
        ),
    ]


def goals(found: Rounds) -> list[Goal]:
    """Judges the goals of the application layer: added time at one client, streams at 32."""
    judged = []
    for name in ("captured", "conversation"):
        added = run.pairs(found, name, "plain", BURST_1, "total_p50_ms", lambda a, b: a - b)
        text = f"{name}: p50 added at 1 client at most {ADDED_MS:g} ms ({run.between(added)})"
        judged.append(Goal(text, round(statistics.median(added), 2), statistics.median(added) <= ADDED_MS))
        share = run.pairs(found, name, "plain", BURST_32, "streams_per_s", lambda a, b: a / b)
        text = f"{name}: at 32 clients at least {SHARE:g} of the plain streams/s ({run.between(share)})"
        judged.append(Goal(text, round(statistics.median(share), 2), statistics.median(share) >= SHARE))
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    judged.append(Goal("streams that were not whole: 0", errors, errors == 0))
    return judged


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    with peers.direct(), stack.running() as running:
        up = _peers(running)
        for peer in up:
            run.warm_up(peer)
        found = run.rounds(up, options.rounds, options.seconds, (BURST_1, BURST_32))
    settings = {"Rounds": f"{options.rounds} of {options.seconds:g} s each"} | {peer.name: peer.settings for peer in up}
    single = [
        {"through": name, "clients": scenario.clients, "round": number, **figures}
        for (name, scenario), measured in found.items()
        for number, figures in enumerate(measured, 1)
    ]
    results.write("kept", run.rows(found), goals(found), facts, settings=settings, rounds=single)
