"""`python -m bench engine`: llama.cpp through Headrace against the same llama.cpp called directly.

Both servers have the same weights and parameters and run during the whole benchmark; they take turns with the same
prompts, so that a pair's ratio is fair on a busy machine. The figure is completion tokens per second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench import load, machine, results, stack
from bench.load import Target
from bench.processes import BenchError, Pids, cpu_seconds, process_tree
from bench.results import Goal
from infra.config import SMOLLM2

CLIENTS = (1, 4)
MAX_TOKENS = 64
SUBJECTS = ("a river", "a water mill", "bread", "the moon", "copper", "a bridge", "winter", "a clock")


def documents(number: int) -> list[dict[str, Any]]:
    """Returns the prompts of round `number`, which are new in each round, so that no slot has them cached."""
    return [
        {
            "messages": [{"role": "user", "content": f"Write {number + 3} long paragraphs about {subject}."}],
            "temperature": 0,
            "max_tokens": MAX_TOKENS,
        }
        for subject in SUBJECTS
    ]


@dataclass(frozen=True, slots=True)
class Contender:
    """One of the two servers that are compared."""

    name: str
    target: Target
    pids: Pids


@contextlib.contextmanager
def llama_cpp_server() -> Iterator[Contender]:
    """Runs llama.cpp by itself, in its own session like Headrace, since Linux shares processors by session."""
    argv = [sys.executable, "-m", "bench.engine.server"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    assert process.stdout is not None
    try:
        granted = json.loads(process.stdout.readline() or b"null")
        if granted is None:
            raise BenchError("llama.cpp did not start; run `python -m bench.engine.server` to see why")
        yield Contender(
            "direct", Target(granted["url"], SMOLLM2.name, granted["key"]), lambda: process_tree(process.pid)
        )
    finally:
        process.terminate()
        process.wait(timeout=30)


def measure(side: Contender, number: int, clients: int, requests: int) -> dict[str, Any]:
    """Returns the figures of one measurement with the prompts of round `number`; raises `BenchError` for any error."""
    before = cpu_seconds(side.pids())
    # llama.cpp announces keep-alive but closes the connection after a stream: each request gets its own.
    seen = asyncio.run(
        load.run(side.target, documents(number), clients=clients, requests=requests, timeout_s=300, keep=False)
    )
    if seen.errors or not seen.streams:
        raise BenchError(f"streams from {side.name} were incomplete: {dict(seen.errors)}")
    tokens = sum(s.tokens for s in seen.streams)
    return seen.summary() | {
        "tokens": tokens,
        "tokens_per_s": round(tokens / seen.seconds, 2),
        "cpu_ms_per_token": round(1000 * (cpu_seconds(side.pids()) - before) / tokens, 2),
    }


def _pairs(sides: Sequence[Contender], rounds: int, requests: int) -> list[dict[str, Any]]:
    found = []
    for number in range(-1, rounds):
        for clients in CLIENTS:
            pair: dict[str, Any] = {"round": number + 1, "clients": clients}
            for side in sides if number % 2 else reversed(sides):
                pair[side.name] = measure(side, number, clients, requests)
            pair["ratio"] = round(pair["headrace"]["tokens_per_s"] / pair["direct"]["tokens_per_s"], 4)
            if number >= 0:  # the first round is the warm-up
                found.append(pair)
                print(pair, file=sys.stderr, flush=True)
    return found


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--rounds", type=int, default=7, help="pairs of measurements")
    parser.add_argument("--requests", type=int, default=len(SUBJECTS), help="per measurement")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures."""
    facts = machine.facts()
    with stack.ensure_up() as running, llama_cpp_server() as alone:
        through = Contender("headrace", running.target(SMOLLM2.name), running.pids)
        found = _pairs((alone, through), options.rounds, options.requests)
    rows, goals = [], []
    for clients in CLIENTS:
        pairs = [p for p in found if p["clients"] == clients]
        ratios = [p["ratio"] for p in pairs]
        ratio = statistics.median(ratios)
        rows.append(
            {
                "clients": clients,
                **_medians(pairs, "tokens/s", "tokens_per_s"),
                "ratio": round(ratio, 3),
                "ratios from": min(ratios),
                "to": max(ratios),
                **_medians(pairs, "TTFT p50 ms", "first_token_p50_ms"),
                **_medians(pairs, "CPU ms per token", "cpu_ms_per_token"),
            }
        )
        text = f"at {clients} clients at least 95 % of llama.cpp's own tokens/s"
        goals.append(Goal(text, f"{100 * ratio:.1f} %", ratio >= 0.95))
    settings = {
        "Model": f"{SMOLLM2.source}, {options.requests} requests of {MAX_TOKENS} tokens, {options.rounds} pairs"
    }
    results.write("engine", rows, goals, facts, settings=settings, rounds=found)


def _medians(pairs: Sequence[dict[str, Any]], title: str, key: str) -> dict[str, float]:
    return {
        f"{title} {side}": round(statistics.median(p[side][key] for p in pairs), 2) for side in ("direct", "headrace")
    }
