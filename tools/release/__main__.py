"""`python -m tools.release`: checks the version of a release, prints its notes, builds the wheel, and packs or pushes
the chart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.release import versions
from tools.report import ToolError, say

ROOT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0, or 1 with a line on stderr."""
    options = _parser().parse_args(argv)
    try:
        match options.command:
            case "check":
                print(versions.check(ROOT, options.tag))
            case "notes":
                print(versions.section(ROOT, options.version)[1])
            case "wheel":
                from tools.release import wheel  # it needs uv, and the commands above run without

                print(wheel.build(ROOT, options.output))
            case "chart":
                # The other commands run before any package is installed, and this import needs some.
                from tools.release import chart

                archive = chart.pack(ROOT, options.output)
                print(chart.push(archive, options.to) if options.to else archive)
    except ToolError as error:
        say(f"error: {error}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    checking = commands.add_parser("check", help="check a tag against pyproject.toml, the chart and the changelog")
    checking.add_argument("tag", help="for example v0.1.0; its version is printed")
    notes = commands.add_parser("notes", help="print the changelog's section of a version")
    notes.add_argument("version", help="for example 0.1.0")
    building = commands.add_parser("wheel", help="build the distribution of the command and the client; print its path")
    building.add_argument("--output", type=Path, default=Path(), metavar="FOLDER", help="folder for the wheel")
    charting = commands.add_parser(
        "chart", help="pack the chart; print the archive's path, or its reference after a push"
    )
    charting.add_argument("--output", type=Path, default=Path(), metavar="FOLDER", help="folder for the archive")
    charting.add_argument("--to", metavar="FOLDER", help="registry folder to push to, for example ghcr.io/owner/charts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
