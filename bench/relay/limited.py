"""`python -m bench quotas`: what it costs that requests are held to quotas.

Two assistants of one stack are asked over the same scripted upstream: one without quotas, and one with
quotas of every measure and window, none of which is ever reached, whose model has a price. They take turns within a
round.
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

LIMITED = "limited"
ADDED_MS, SHARE = 1.0, 0.9

_MUCH, _MUCH_MONEY = 10**12, 10**6


def quotas() -> list[dict[str, object]]:
    """Returns a quota of every measure and window."""
    whose = {"subject": "model", "id": LIMITED}
    kinds = (
        *((window, measure) for window in ("minute", "day", "month") for measure in ("requests", "tokens")),
        ("concurrent", "streams"),
    )
    money = {"measure": "money", "currency": "USD", "limit": _MUCH_MONEY}
    return [
        *({**whose, "window": window, "measure": measure, "limit": _MUCH} for window, measure in kinds),
        *({**whose, "window": window, **money} for window in ("day", "month")),
    ]


def _limit(running: stack.Stack) -> None:
    headers = {"Authorization": f"Bearer {running.key}"}
    with httpx.Client(base_url=f"{running.url}/v1", headers=headers, trust_env=False, timeout=30) as http:
        http.put("/admin/quotas", json={"quotas": quotas()}).raise_for_status()


def goals(found: Rounds) -> list[Goal]:
    """Judges the goals of quotas: added time at one client, streams at 32."""
    added = run.pairs(found, LIMITED, "plain", BURST_1, "total_p50_ms", lambda a, b: a - b)
    share = run.pairs(found, LIMITED, "plain", BURST_32, "streams_per_s", lambda a, b: a / b)
    errors = sum(sum(figures["errors"].values()) for measured in found.values() for figures in measured)
    at_one = f"p50 added at 1 client at most {ADDED_MS:g} ms ({run.between(added)})"
    at_many = f"at 32 clients at least {SHARE:g} of the plain streams/s ({run.between(share)})"
    return [
        Goal(at_one, round(statistics.median(added), 2), statistics.median(added) <= ADDED_MS),
        Goal(at_many, round(statistics.median(share), 2), statistics.median(share) >= SHARE),
        Goal("streams that were not whole: 0", errors, errors == 0),
    ]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    with peers.direct(), stack.running() as running:
        _limit(running)
        up = [
            Peer("plain", running.target("relay"), stack.pids, "no quota"),
            Peer(
                LIMITED,
                running.target(LIMITED),
                stack.pids,
                "a quota of every measure and window, none of which is reached",
            ),
        ]
        for peer in up:
            run.warm_up(peer)
        found = run.rounds(up, options.rounds, options.seconds, (BURST_1, BURST_32))
    settings = {"Rounds": f"{options.rounds} of {options.seconds:g} s each"} | {peer.name: peer.settings for peer in up}
    single = [
        {"through": name, "clients": scenario.clients, "round": number, **figures}
        for (name, scenario), measured in found.items()
        for number, figures in enumerate(measured, 1)
    ]
    results.write("quotas", run.rows(found), goals(found), facts, settings=settings, rounds=single)
