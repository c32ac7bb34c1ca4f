"""`python -m bench`: runs benchmarks and writes their figures to bench/results and docs/benchmarks.md."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import batch, compare, recall, results, sandbox, start
from bench.engine import benchmark as engine
from bench.page import benchmark as page
from bench.processes import BenchError
from bench.relay import benchmark as relay
from bench.relay import captures, quotas
from bench.strategies import benchmark as strategies
from bench.telemetry import benchmark as telemetry
from bench.telemetry import scrape
from tools.report import ToolError

RETRIEVAL = Path(__file__).parent / "retrieval"
ALL = (
    ["start"],
    ["relay"],
    ["relay", "--requests", "50000"],
    ["captures"],
    ["quotas"],
    ["telemetry"],
    ["scrape"],
    ["engine"],
    ["sandbox"],
    ["strategies"],
    ["recall"],
    ["batch"],
    ["page"],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one benchmark, or all, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="benchmark")
    relay.arguments(commands.add_parser("relay", help="the gateway against LiteLLM's proxy and vllm-router"))
    captures.arguments(commands.add_parser("captures", help="time that captures and conversations add to streams"))
    quotas.arguments(commands.add_parser("quotas", help="time that quotas add to streams"))
    telemetry.arguments(
        commands.add_parser("telemetry", help="cost of metrics, the request log and traces in a gateway")
    )
    scrape.arguments(commands.add_parser("scrape", help="duration of a scrape of many processes"))
    engine.arguments(commands.add_parser("engine", help="llama.cpp through Headrace against llama.cpp"))
    strategies.arguments(commands.add_parser("strategies", help="accuracy, time and cost of reasoning strategies"))
    sandbox.arguments(commands.add_parser("sandbox", help="time and memory of programs in the sandbox"))
    recall.arguments(commands.add_parser("recall", help="cost of a conversation's memory as it grows"))
    batch.arguments(commands.add_parser("batch", help="effect of a batch on interactive requests"))
    page.arguments(commands.add_parser("page", help="first load and long chats of the web page in a real browser"))
    compare.arguments(commands.add_parser("compare", help="processor time here and in another checkout"))
    commands.add_parser("start", help="time and memory of `make up`, first and second time")
    names = sorted(p.stem for p in RETRIEVAL.glob("*.py") if not p.stem.startswith("_"))
    retrieval = commands.add_parser("retrieval", help=f"quality and speed of search: {', '.join(names)}")
    retrieval.add_argument("name", choices=names)
    retrieval.add_argument("arguments", nargs=argparse.REMAINDER, help="passed on to it")
    commands.add_parser("report", help="write the tables of docs/benchmarks.md from bench/results")
    commands.add_parser("all", help="all benchmarks in turn, with their defaults (the default)")
    options = parser.parse_args(argv)
    try:
        match options.command:
            case "relay":
                relay.main(options)
            case "captures":
                captures.main(options)
            case "quotas":
                quotas.main(options)
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
            case "batch":
                batch.main(options)
            case "page":
                page.main(options)
            case "compare":
                return compare.main(options)
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
