"""`python -m bench compare CHECKOUT relay --peers headrace`: processor time here and in another checkout.

The benchmark runs in both checkouts in turn, each with its own `.venv`, several times. Processor time is compared, not
throughput, because other programs on the host affect it least.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.processes import BenchError

HERE = Path(__file__).resolve().parents[1]
MOST = 1.03
"""Largest acceptable ratio of processor time here to that of the other checkout."""

OTHERS = {"upstream", "litellm", "vllm-router"}
"""Rows that do not measure Headrace."""

Figures = dict[str, float]


def cpu_times(rows: Sequence[Mapping[str, Any]]) -> Figures:
    """Returns Headrace's processor time by row: milliseconds per stream or token."""
    found = {}
    for row in rows:
        name = " ".join(str(row[key]) for key in ("through", "chunks", "clients") if key in row)
        for column, value in row.items():
            if (
                column.startswith(("CPU ms per", "CPU ms a "))
                and not column.endswith("direct")
                and row.get("through") not in OTHERS
            ):
                found[name] = float(value)
    return found


def ratios(here: Sequence[Figures], other: Sequence[Figures]) -> Figures:
    """Returns for each row the median over rounds of the time here divided by the time in the other checkout."""
    names = [name for name in here[0] if all(name in each for each in (*here, *other))]
    pairs = list(zip(here, other, strict=True))
    return {name: statistics.median(one[name] / two[name] for one, two in pairs) for name in names}


def measure(checkout: Path, arguments: Sequence[str]) -> Figures:
    """Runs a benchmark in a checkout and returns its processor times; its results are removed again."""
    folder = checkout / "bench" / "results"
    before = set(folder.glob("*.json"))
    _bench(checkout, *arguments)
    new = sorted(set(folder.glob("*.json")) - before)
    if len(new) != 1:
        raise BenchError(f"{checkout}: the benchmark wrote {len(new)} result files instead of one")
    record = json.loads(new[0].read_text())
    new[0].unlink()
    _bench(checkout, "report")
    return cpu_times(record["rows"])


def _bench(checkout: Path, *arguments: str) -> None:
    subprocess.run([checkout / ".venv/bin/python", "-m", "bench", *arguments], cwd=checkout, check=True)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this comparison."""
    parser.add_argument("checkout", type=Path, help="the other checkout, with its own .venv")
    parser.add_argument("--times", type=int, default=3, help="how often to run the benchmark in each checkout")
    parser.add_argument("benchmark", nargs=argparse.REMAINDER, help="relay, captures or engine, with its options")


def main(options: argparse.Namespace) -> int:
    """Prints the ratios; returns 1 if one is above `MOST`."""
    here, other = [], []
    for _ in range(options.times):
        here.append(measure(HERE, options.benchmark))
        other.append(measure(options.checkout.resolve(), options.benchmark))
    found = ratios(here, other)
    for name, ratio in found.items():
        print(f"{'met   ' if ratio <= MOST else 'MISSED'}  {name}: {ratio:.3f} of the processor time (at most {MOST})")
    if not found:
        print("the benchmark reports no processor time", file=sys.stderr)
    return 0 if found and max(found.values()) <= MOST else 1
