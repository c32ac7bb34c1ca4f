"""`python -m bench start`: time and memory of `make up` with the tools cached, the first and the second time."""

from __future__ import annotations

from bench import machine, results, stack
from bench.processes import memory_usage
from bench.results import Goal


def main() -> None:
    """Purges the bench stack, brings it up twice and down, and writes the figures."""
    facts = machine.facts()
    stack.run_verb("purge")
    first = stack.run_verb("up")
    weight = memory_usage(stack.process_ids())
    second = stack.run_verb("up")
    down = stack.run_verb("down")
    left = len(stack.process_ids())
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
