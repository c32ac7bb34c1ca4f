"""`python -m bench compare CHECKOUT`: processor time here and in another checkout, whose stacks run at the same time.

Each checkout, with its own `.venv`, gets a new stack on ports of its own. Every case is measured in short turns, in
each round four times: here, other, other, here, and in the next round the other way round. What else the machine does
thus affects both sides, and a load that grows or falls steadily cancels out. A figure is the median of the rounds'
ratios, here divided by other, with its quartiles and its range. Processor time decides, not throughput, because other
programs affect it least. Comparing a checkout with itself shows the noise.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.checkout_stack import running_stack
from bench.engine import benchmark as engine
from bench.processes import BenchError
from bench.relay import benchmark as relay
from bench.relay import captures, peers
from bench.relay.benchmark import Scenario
from bench.relay.peers import Peer
from bench.stack import Stack
from infra.config import SMOLLM2

HERE = Path(__file__).resolve().parents[1]
MOST = 1.03
"""Largest acceptable ratio of processor time here to that of the other checkout."""

SIDES = (("compare-here", 100), ("compare-other", 200))
"""The stack's name here and in the other checkout, and how far its ports are above those of the benchmarks' stack."""

PROCESSOR_TIME, THROUGHPUT = "processor time", "throughput"
Figures = Mapping[str, float]
Measurement = Callable[[int], Figures]
"""Measures one side once; its argument selects the prompts."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured on both sides: here and in the other checkout."""

    name: str
    sides: tuple[Measurement, Measurement]


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of the rounds' ratios of a figure, here divided by other."""

    median: float
    quartiles: tuple[float, float]
    range: tuple[float, float]

    @classmethod
    def from_ratios(cls, ratios: Sequence[float]) -> Spread:
        """Returns the distribution of at least one ratio; quartiles interpolate linearly between the ratios."""
        if len(ratios) == 1:
            return cls(ratios[0], (ratios[0], ratios[0]), (ratios[0], ratios[0]))
        low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return cls(median, (low, high), (min(ratios), max(ratios)))

    def __str__(self) -> str:
        (low, high), (least, most) = self.quartiles, self.range
        return f"{self.median:.3f} (quartiles {low:.3f} to {high:.3f}, rounds {least:.3f} to {most:.3f})"


def turns(number: int) -> list[tuple[int, int]]:
    """Returns the turns of a round as side and prompts: each side measures the same two sets of prompts.

    Even rounds go A B B A, odd ones B A A B.
    """
    first, second = (0, 1) if number % 2 == 0 else (1, 0)
    one, two = 2 * number, 2 * number + 1
    return [(first, one), (second, one), (second, two), (first, two)]


def measure_round(case: Case, number: int) -> dict[str, float]:
    """Measures both sides twice; returns for each figure the sum here divided by the sum of the other side."""
    sums: tuple[defaultdict[str, float], ...] = (defaultdict(float), defaultdict(float))
    for side, prompts in turns(number):
        for figure, value in case.sides[side](prompts).items():
            sums[side][figure] += value
    here, other = sums
    return {figure: here[figure] / other[figure] for figure in here}


def measure_cases(cases: Sequence[Case], rounds: int) -> dict[str, dict[str, Spread]]:
    """Measures all cases in each round; returns by case and figure the distribution of the ratios."""
    ratios: dict[str, dict[str, list[float]]] = {case.name: defaultdict(list) for case in cases}
    for number in range(rounds):
        for case in cases:
            for figure, ratio in measure_round(case, number).items():
                ratios[case.name][figure].append(ratio)
                print(f"round {number + 1}: {case.name}: {figure} {ratio:.3f}", file=sys.stderr, flush=True)
    return {
        name: {figure: Spread.from_ratios(values) for figure, values in found.items()} for name, found in ratios.items()
    }


def _streams(peer: Peer, scenario: Scenario, seconds: float) -> Measurement:
    def measure(prompts: int) -> Figures:
        del prompts  # the upstream answers each of them with the same text
        figures = relay.measure(peer, scenario, seconds)
        if figures["errors"] or not figures["cpu_ms_per_stream"]:
            raise BenchError(f"{peer.target.url}: incomplete streams, or no processor time: {figures}")
        return {PROCESSOR_TIME: figures["cpu_ms_per_stream"], THROUGHPUT: figures["streams_per_s"]}

    return measure


def _tokens(running: Stack, clients: int, requests: int) -> Measurement:
    side = engine.Contender("headrace", running.target(SMOLLM2.name), running.pids)

    def measure(prompts: int) -> Figures:
        figures = engine.measure(side, prompts, clients, requests)
        return {PROCESSOR_TIME: figures["cpu_ms_per_token"], THROUGHPUT: figures["tokens_per_s"]}

    return measure


def _stream_cases(pairs: Sequence[tuple[Peer, ...]], scenarios: Sequence[Scenario], seconds: float) -> Iterator[Case]:
    for here, other in pairs:
        relay.warm_up(here)
        relay.warm_up(other)
        for scenario in scenarios:
            sides = _streams(here, scenario, seconds), _streams(other, scenario, seconds)
            yield Case(f"{here.name}, {scenario.name}, {scenario.clients} clients", sides)


def _relay_cases(stacks: Sequence[Stack], options: argparse.Namespace) -> Iterator[Case]:
    pair = tuple(relay.headrace(stack) for stack in stacks)
    return _stream_cases([pair], relay.SCENARIOS, options.seconds)


def _capture_cases(stacks: Sequence[Stack], options: argparse.Namespace) -> Iterator[Case]:
    pairs = list(zip(*(captures.assistants(stack) for stack in stacks), strict=True))
    return _stream_cases(pairs, (relay.BURST_1, relay.BURST_32), options.seconds)


def _engine_cases(stacks: Sequence[Stack], options: argparse.Namespace) -> Iterator[Case]:
    for clients in engine.CLIENTS:
        here, other = (_tokens(stack, clients, options.requests) for stack in stacks)
        for measure in (here, other):
            measure(-1)  # the warm-up
        yield Case(f"engine, {clients} clients", (here, other))


CASES: Mapping[str, Callable[[Sequence[Stack], argparse.Namespace], Iterator[Case]]] = {
    "relay": _relay_cases,
    "captures": _capture_cases,
    "engine": _engine_cases,
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this comparison."""
    parser.add_argument("checkout", type=Path, help="the other checkout, with its own .venv")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="what to compare (all of it)")
    parser.add_argument("--rounds", type=_positive, default=5, help="each measures both sides twice (5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of a measurement of relay or captures (5)")
    parser.add_argument(
        "--requests", type=int, default=len(engine.SUBJECTS), help="requests of a measurement of engine (8)"
    )


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


@contextlib.contextmanager
def both_stacks(checkouts: Sequence[Path]) -> Iterator[list[Stack]]:
    """Runs a stack in each checkout during the block; purges those that were started, also if the second fails."""
    with contextlib.ExitStack() as ended:
        yield [
            ended.enter_context(running_stack(checkout, name, ports_by))
            for checkout, (name, ports_by) in zip(checkouts, SIDES, strict=True)
        ]


def main(options: argparse.Namespace) -> int:
    """Prints the ratios; returns 1 if the median of a processor time is above `MOST`."""
    other = options.checkout.resolve()
    if not (other / ".venv/bin/python").exists():
        raise BenchError(f"{other} has no .venv; run `make venv` there")
    before = signal.signal(signal.SIGTERM, _exit)  # else a SIGTERM would leave the stacks running
    try:
        with peers.scripted_upstream(), both_stacks((HERE, other)) as stacks:
            cases = [case for name in options.only for case in CASES[name](stacks, options)]
            found = measure_cases(cases, options.rounds)
    finally:
        signal.signal(signal.SIGTERM, before)
    return report(found)


def _exit(number: int, frame: Any) -> None:
    del frame
    sys.exit(128 + number)


def report(found: Mapping[str, Mapping[str, Spread]]) -> int:
    """Prints each ratio with its spread; returns 1 if the median of a processor time is above `MOST`."""
    missed = False
    for case, figures in found.items():
        for figure, spread in figures.items():
            verdict = ""
            if figure == PROCESSOR_TIME:
                verdict = "met" if spread.median <= MOST else "MISSED"
                missed = missed or verdict == "MISSED"
            print(f"{verdict:6}  {case}: {figure} here / other {spread}")
    print(f"A processor time is met if the median is at most {MOST}.")
    return int(missed)
