"""`python -m bench`: runs benchmarks and writes their figures to bench/results and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import recall, results, sandbox, start
from bench.engine import run as engine
from bench.processes import BenchError
from bench.relay import kept, limited
from bench.relay import run as relay
from bench.strategies import run as strategies
from bench.telemetry import run as telemetry
from bench.telemetry import scrape
from tools.report import ToolError

RETRIEVAL = Path(__file__).parent / "retrieval"
ALL = (
    ["start"],
    ["relay"],
    ["relay", "--requests", "50000"],
    ["kept"],
    ["quotas"],
    ["telemetry"],
    ["scrape"],
    ["engine"],
    ["sandbox"],
    ["strategies"],
    ["recall"],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one benchmark, or all, and returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="benchmark")
    relay.arguments(commands.add_parser("relay", help="the gateway against LiteLLM's proxy and vllm-router"))
    kept.arguments(commands.add_parser("kept", help="what captures and conversations add to a stream"))
    limited.arguments(commands.add_parser("quotas", help="what quotas add to a stream"))
    telemetry.arguments(commands.add_parser("telemetry", help="what metrics, the log and traces cost a gateway"))
    scrape.arguments(commands.add_parser("scrape", help="what it takes to read the metrics of many processes"))
    engine.arguments(commands.add_parser("engine", help="llama.cpp through Headrace against llama.cpp"))
    strategies.arguments(commands.add_parser("strategies", help="accuracy, time and cost of reasoning strategies"))
    sandbox.arguments(commands.add_parser("sandbox", help="programs that a model wrote, run in the sandbox"))
    recall.arguments(commands.add_parser("recall", help="what memory of a conversation costs as it grows"))
    commands.add_parser("start", help="`make up`: seconds and memory, first and second time")
    names = sorted(p.stem for p in RETRIEVAL.glob("*.py") if not p.stem.startswith("_"))
    retrieval = commands.add_parser("retrieval", help=f"quality and speed of search: {', '.join(names)}")
    retrieval.add_argument("name", choices=names)
    retrieval.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on")
    commands.add_parser("report", help="make the tables of docs/benchmarks.md anew from bench/results")
    commands.add_parser("all", help="everything, one after the other, with the defaults (also without a name)")
    options = parser.parse_args(argv)
    try:
        match options.command:
            case "relay":
                relay.main(options)
            case "kept":
                kept.main(options)
            case "quotas":
                limited.main(options)
            case "telemetry":
                telemetry.main(options)
            case "scrape":
                scrape.main(options)
            case "engine":
                engine.main(options)
            case "strategies":
                strategies.main(options)
            case "sandbox":
                sandbox.main(options)
            case "recall":
                recall.main(options)
            case "start":
                start.main()
            case "retrieval":
                return _retrieval(options.name, options.arguments)
            case "report":
                results.render()
            case _:
                return max(main(each) for each in (*ALL, *(["retrieval", name] for name in names)))
    except (BenchError, ToolError) as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    return 0


def _retrieval(name: str, arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, str(RETRIEVAL / f"{name}.py"), *arguments]).returncode


if __name__ == "__main__":
    sys.exit(main())
