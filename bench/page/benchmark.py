"""`python -m bench page [--only load stream] [--rounds N]`: the web page in Chromium, before a gateway without a stack.

It needs what the contract tests of the page need: Linux on x86-64 and Node.js, which unpacks the locked Chromium.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from bench.page import load, stream

PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "load": lambda options: load.measure(options.rounds),
    "stream": lambda options: stream.measure(options.rounds),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS), help="parts to run (default: all)")
    parser.add_argument("--rounds", type=_count, default=3)


def main(options: argparse.Namespace) -> None:
    """Runs the parts, each of which writes its results."""
    for name in options.only:
        PARTS[name](options)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
