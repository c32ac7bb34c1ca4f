"""`python -m bench start`: what `make up` costs with the tools cached, the first and the second time."""

from __future__ import annotations

from bench import machine, results, stack
from bench.processes import memory
from bench.results import Goal


def main() -> None:
    """Brings the bench stack up from nothing, again, and down; writes the figures. Its data is deleted first."""
    facts = machine.facts()
    stack.verb("purge")
    first = stack.verb("up")
    weight = memory(stack.pids())
    second = stack.verb("up")
    down = stack.verb("down")
    left = len(stack.pids())
    row = {
        "up s": round(first, 1),
        "second up s": round(second, 1),
        "down s": round(down, 1),
        "PSS GB": round(weight.pss / 1e9, 2),
        "RSS GB": round(weight.rss / 1e9, 2),
        "processes": weight.processes,
        "left after down": left,
    }
    goals = [
        Goal("`make up` with tools cached in at most 90 s", row["up s"], first <= 90),
        Goal("at most 3 GB resident (PSS: shared pages once)", row["PSS GB"], weight.pss <= 3e9),
        Goal("a second `make up` in at most 10 s", row["second up s"], second <= 10),
    ]
    results.write("start", [row], goals, facts)
