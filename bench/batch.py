"""`python -m bench batch [--lines N] [--requests N]`: effect of a batch on other requests, and its throughput.

With the model `smollm2` of the bench stack, it measures the time to first token of streamed requests with and without a
batch in the background, and compares a batch's lines per second with the requests per second of as many clients that
have the engine to themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import Literal

import openai

from bench import load, machine, results
from bench.processes import BenchError
from bench.stack import Stack, ensure_up

MODEL = "smollm2"
TOKENS = 32
PLACES = 8
"""Default number of batch lines that a gateway processes at once, and the number of clients in the comparison."""

RATIO = 1.2
SHARE = 0.9


def document(n: int) -> dict[str, object]:
    """Returns a request unlike any other, so that no prompt cache contains it."""
    return {"messages": [{"role": "user", "content": f"Say {n} words about locks."}], "max_tokens": TOKENS}


def begin(client: openai.OpenAI, lines: int) -> str:
    """Starts a batch, and returns its id once the first line is answered."""
    url: Literal["/v1/chat/completions"] = "/v1/chat/completions"
    requests = [
        {"custom_id": str(n), "method": "POST", "url": url, "body": {"model": MODEL} | document(n)}
        for n in range(lines)
    ]
    text = "\n".join(json.dumps(line) for line in requests).encode()
    file = client.files.create(file=("bench.jsonl", text), purpose="batch")
    id = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h").id
    while (batch := client.batches.retrieve(id)).request_counts is None or not batch.request_counts.completed:
        if batch.status not in ("validating", "in_progress"):
            raise BenchError(f"the batch is {batch.status}")
        time.sleep(0.1)
    return id


def completed(client: openai.OpenAI, id: str) -> int:
    """Returns the number of answered lines of a batch."""
    counts = client.batches.retrieve(id).request_counts
    return counts.completed if counts is not None else 0


def measure(stack: Stack, lines: int, requests: int) -> None:
    """Measures latency and throughput, and writes the results."""
    facts = machine.facts()
    target = stack.target(MODEL)
    client = openai.OpenAI(base_url=f"{stack.url}/v1", api_key=stack.key)

    def ask(clients: int, first: int) -> load.Result:
        documents = [document(first + n) for n in range(requests)]
        return asyncio.run(load.run(target, documents, clients=clients, requests=requests))

    ask(1, 1_000_000)  # warm up the engine
    alone = ask(1, 2_000_000)
    engine = ask(PLACES, 3_000_000)
    id = begin(client, lines)
    began, before = time.perf_counter(), completed(client, id)
    time.sleep(engine.seconds)
    rate = (completed(client, id) - before) / (time.perf_counter() - began)
    beside = ask(1, 4_000_000)
    if client.batches.retrieve(id).status != "in_progress":
        raise BenchError("the batch ended before the requests; increase --lines")
    client.batches.cancel(id)
    times = [load.quantile(sorted(s.first_token for s in each.streams), 0.95) for each in (alone, beside)]
    ratio, share = times[1] / times[0], rate / engine.streams_per_second
    row = {
        "first token p95, alone (ms)": round(times[0] * 1000, 1),
        "beside a batch (ms)": round(times[1] * 1000, 1),
        "ratio": round(ratio, 2),
        f"requests/s of {PLACES} clients": round(engine.streams_per_second, 2),
        "lines/s of a batch": round(rate, 2),
        "share": round(share, 2),
    }
    goals = [
        results.Goal(f"first token p95 at most {RATIO} times that alone", row["ratio"], ratio <= RATIO),
        results.Goal(f"at least {SHARE:.0%} of the engine's throughput", row["share"], share >= SHARE),
    ]
    results.write("batch", [row], goals, facts, settings={"Tokens of an answer": TOKENS})


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this benchmark."""
    parser.add_argument("--lines", type=int, default=2000)
    parser.add_argument("--requests", type=int, default=60)


def main(options: argparse.Namespace) -> None:
    """Runs the benchmark on the bench stack."""
    with ensure_up() as stack:
        measure(stack, options.lines, options.requests)
