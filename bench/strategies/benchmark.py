"""`python -m bench strategies`: strategies on GSM8K, or any tasks with known answers, with one model."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bench import machine, results
from bench.engine.benchmark import llama_cpp_server
from bench.processes import BenchError
from bench.strategies import tasks as task_files
from bench.strategies.measurement import Prices, Solution, row, solve_all
from bench.strategies.tasks import Task
from infra.config import SMOLLM2
from serving.assistants.sandbox.pool import Sandbox, SandboxUnavailable, open_sandbox
from serving.config import STRATEGIES, Strategy
from serving.engines.client import EngineClient
from serving.engines.endpoint import Endpoint
from serving.inference.engine_model import EngineModel

_STRATEGY: TypeAdapter[Strategy] = TypeAdapter(Strategy)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument(
        "--strategies", type=_kinds, default=STRATEGIES, help=f"a list of {','.join(STRATEGIES)} (default: all)"
    )
    parser.add_argument("--file", type=Path, default=task_files.OURS, help="JSON lines with question and answer")
    parser.add_argument("--tasks", type=_count, default=20, help="number of tasks from the file")
    parser.add_argument("--samples", type=int, default=5, help="samples of self-consistency")
    parser.add_argument("--max-tokens", type=_count, default=256, help="tokens per completion")
    parser.add_argument("--url", help="an OpenAI-compatible endpoint, with /v1 (default: start llama.cpp)")
    parser.add_argument("--model", default=SMOLLM2.name, help="the model's name at the endpoint")
    parser.add_argument("--prompt-price", type=float, default=0, help="$ for a million tokens")
    parser.add_argument("--completion-price", type=float, default=0, help="$ for a million tokens")


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark and writes its figures. The key of `--url` is read from HEADRACE_BENCH_KEY."""
    chosen = task_files.load(options.file, options.tasks)
    strategies = [_strategy(kind, options.samples) for kind in options.strategies]
    prices = Prices(options.prompt_price, options.completion_price)
    facts = machine.facts()
    with _endpoint(options.url, options.model) as endpoint:
        rows, rounds = asyncio.run(measure(strategies, chosen, endpoint, prices, options.max_tokens))
    source = SMOLLM2.source if options.url is None else options.model
    settings = {
        "Model": source,
        "Tasks": f"the first {len(chosen)} of {options.file.parent.name}/{options.file.name}",
        "Completions": f"at most {options.max_tokens} tokens; {options.samples} samples vote",
    }
    results.write("strategies", rows, (), facts, settings=settings, rounds=rounds)


async def measure(
    strategies: Sequence[Strategy], tasks: Sequence[Task], endpoint: Endpoint, prices: Prices, max_tokens: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Returns a row for each strategy, and the outcome of each task."""
    rows: list[dict[str, Any]] = []
    rounds: list[dict[str, Any]] = []
    client = EngineClient()
    try:
        async with open_sandbox() as box:

            async def sandbox() -> Sandbox:
                return box

            for strategy in strategies:

                def record(solved: Solution, kind: str = strategy.kind) -> None:
                    rounds.append({"strategy": kind, **asdict(solved)})
                    print(rounds[-1], file=sys.stderr, flush=True)

                # Temperature 0, so that runs are repeatable; samples that vote have their own temperature.
                model = EngineModel(client, endpoint, _sampling(endpoint, max_tokens))
                rows.append(row(strategy, await solve_all(strategy, tasks, model, sandbox, record), prices))
    except SandboxUnavailable as e:
        raise BenchError(str(e)) from None
    finally:
        await client.close()
    return rows, rounds


def _sampling(endpoint: Endpoint, max_tokens: int) -> dict[str, Any]:
    return {"model": endpoint.model, "temperature": 0, "seed": 1, "max_tokens": max_tokens}


def _strategy(kind: str, samples: int) -> Strategy:
    votes = {"samples": samples} if kind in ("self_consistency", "react_cot_sc") else {}
    return _STRATEGY.validate_python({"kind": kind, **votes})


@contextlib.contextmanager
def _endpoint(url: str | None, model: str) -> Iterator[Endpoint]:
    if url is not None:
        key = os.environ.get("HEADRACE_BENCH_KEY")
        yield Endpoint(url.rstrip("/"), model, {"Authorization": f"Bearer {key}"} if key else {})
        return
    with llama_cpp_server() as side:
        headers = {"Authorization": f"Bearer {side.target.key}"}
        context = SMOLLM2.context // SMOLLM2.slots
        yield Endpoint(f"{side.target.url}", SMOLLM2.name, headers, 1, context=context, tokenizer="llamacpp")


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    unknown = sorted(set(kinds) - set(STRATEGIES))
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown strategy {', '.join(unknown)}")
    return kinds


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number
