"""Compares `make plan` with a real kube-scheduler on random stacks.

`python -m tests.scheduling.campaign --stacks 1000 --log FILE` writes a line for each stack and continues where the file
ends, so that a campaign can be interrupted. `--part 1/4` takes each fourth stack, for processes that share a campaign.
At the end it prints the numbers, and the smallest stack of some disagreements.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from tests.scheduling.compare import Outcome, compare, judged, random_stacks
from tests.scheduling.control_plane import ControlPlane
from tests.scheduling.smallest import smallest

SEED = 19
SHOWN = 5
"""Disagreements that are made smaller."""


@dataclass(frozen=True)
class Part:
    """Which stacks of a campaign: the `number`th of each `of`."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """Reads `1/4`."""
        number, _, of = text.partition("/")
        return cls(int(number), int(of))


WHOLE = Part()


def outcomes(
    stacks: int,
    seed: int,
    control_plane: ControlPlane,
    home: Path,
    part: Part = WHOLE,
    known: Sequence[Outcome] = (),
) -> Iterator[Outcome]:
    """What happens to each stack; of the first ones it may be known."""
    chosen = islice(enumerate(random_stacks(seed)), part.number - 1, stacks, part.of)
    for i, (number, settings) in enumerate(chosen):
        yield known[i] if i < len(known) else compare(settings, control_plane, home, number)


def explained(outcome: Outcome, control_plane: ControlPlane, home: Path) -> str:
    """A disagreement, as the smallest stack with the same one."""
    last = outcome

    def same(settings: dict[str, Any]) -> bool:
        nonlocal last
        if judged(settings) is None:
            return False
        found = compare(settings, control_plane, home)
        if found.verdict == outcome.verdict:
            last = found
        return found.verdict == outcome.verdict

    settings = smallest(outcome.settings, same)
    said = "\n".join([*last.refusals, *(f"Pending: {name}" for name in last.pending)])
    return f"{outcome.verdict}:\n{said}\n{yaml.safe_dump(settings, sort_keys=False)}"


def _read(log: Path | None) -> list[Outcome]:
    if log is None or not log.exists():
        return []
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [Outcome(line["settings"], tuple(line["refusals"]), tuple(line["pending"])) for line in lines]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a campaign; returns 1 if there is a disagreement."""
    parser = argparse.ArgumentParser(prog="python -m tests.scheduling.campaign", description=__doc__)
    parser.add_argument("--stacks", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--part", type=Part.parse, default=WHOLE)
    parser.add_argument("--log", type=Path)
    arguments = parser.parse_args(argv)
    known = _read(arguments.log)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    counts: Counter[str] = Counter()
    disagreements = []
    with closing(ControlPlane()) as control_plane, tempfile.TemporaryDirectory() as home:
        found = outcomes(arguments.stacks, arguments.seed, control_plane, Path(home), arguments.part, known)
        for i, outcome in enumerate(found):
            counts[outcome.verdict] += 1
            if not outcome.agrees:
                disagreements.append(outcome)
            if i >= len(known) and arguments.log:
                line = {"settings": outcome.settings, "refusals": outcome.refusals, "pending": outcome.pending}
                with arguments.log.open("a") as log:
                    log.write(json.dumps(line) + "\n")
            print(f"{i + 1}: {outcome.verdict}", *outcome.pending[:1], flush=True)
        for outcome in disagreements[:SHOWN]:
            print(explained(outcome, control_plane, Path(home)))
    for verdict, number in sorted(counts.items()):
        print(f"{verdict}: {number}")
    return bool(disagreements)


if __name__ == "__main__":
    sys.exit(main())
