"""`python -m bench quotas`: the cost of enforcing quotas.

Two assistants of one stack use the same scripted upstream: one without quotas, and one with
quotas of every measure and window, none of which is reached, whose model has a price. They take turns within a
round.
"""

from __future__ import annotations

import argparse

import httpx

from bench import machine, stack
from bench.relay import overhead, peers
from bench.relay.benchmark import Rounds
from bench.relay.peers import Peer
from bench.results import Goal

LIMITED = "limited"
ADDED_MS, SHARE = 1.0, 0.9

_MUCH, _MUCH_MONEY = 10**12, 10**6


def quotas() -> list[dict[str, object]]:
    """Returns a quota for every measure and window that applies to an answer."""
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
    return overhead.goals(found, (LIMITED,), added_ms=ADDED_MS, share=SHARE)


arguments = overhead.arguments


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    with peers.scripted_upstream(), stack.ensure_up() as running:
        _limit(running)
        settings = "a quota of every measure and window, none of which is reached"
        up = [
            Peer(overhead.PLAIN, running.target("relay"), running.pids, "no quota"),
            Peer(LIMITED, running.target(LIMITED), running.pids, settings),
        ]
        found = overhead.measure(up, options)
    overhead.write("quotas", up, found, goals(found), facts, options)
