"""`python -m bench captures`: the cost of storing answers, and of continuing conversations.

Three assistants of one stack use the same scripted upstream: one that stores nothing, one whose answers are
captured, and one that also continues conversations. They take turns within a round.
"""

from __future__ import annotations

import argparse

import httpx

from bench import machine, stack
from bench.relay import overhead, peers
from bench.relay.benchmark import Rounds
from bench.relay.peers import Peer
from bench.results import Goal

CONVERSATIONS = 64
"""Conversations that clients take in turn: more than clients, so that rarely two continue the same one."""

ADDED_MS, SHARE = 3.0, 0.75


def _conversations(running: stack.Stack) -> tuple[dict[str, str], ...]:
    headers = {"Authorization": f"Bearer {running.key}"}
    with httpx.Client(base_url=f"{running.url}/v1", headers=headers, trust_env=False, timeout=30) as http:
        made = (http.post("/conversations", json={}).raise_for_status().json() for _ in range(CONVERSATIONS))
        return tuple({"conversation": str(conversation["id"])} for conversation in made)


def assistants(running: stack.Stack) -> list[Peer]:
    """Returns the three assistants of a stack; creates the conversations of the third."""
    pids = running.pids
    return [
        Peer(overhead.PLAIN, running.target("relay"), pids, "nothing is stored"),
        Peer("captured", running.target("captured"), pids, "each answer is captured"),
        Peer(
            "conversation",
            running.target("remembers"),
            pids,
            f"captured, in {CONVERSATIONS} conversations whose 4 newest turns are shown to the model",
            fields=_conversations(running),
        ),
    ]


def goals(found: Rounds) -> list[Goal]:
    """Judges the goals of the application layer: added time at one client, streams at 32."""
    return overhead.goals(found, ("captured", "conversation"), added_ms=ADDED_MS, share=SHARE)


arguments = overhead.arguments


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    with peers.scripted_upstream(), stack.ensure_up() as running:
        up = assistants(running)
        found = overhead.measure(up, options)
    overhead.write("kept", up, found, goals(found), facts, options)
