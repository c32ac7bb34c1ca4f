"""A gateway and its jobs with a scripted engine and a scripted training: whatever is between them is real."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from serving.config import AdapterBounds, Alias, Catalog, LlamaCppModel, Managed, Tuning
from serving.hub import release_keeper
from serving.hub.jobs import running
from serving.hub.jobs.replica import TuningReplica
from tests.contract.hub.replica import Replica
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.hub import capitals
from tests.hub.adapters import write_base
from tests.hub.capitals import MARK

BASE, ALIAS = "smollm2", "chat"
COUNTRIES = capitals.LEARNT | capitals.HELD_OUT

TRAINER = f"""#!{sys.executable}
import json, sys
from pathlib import Path
from tests.hub.adapters import tensors, written
plan = json.loads(Path(sys.argv[-1]).read_text())
rows = [json.loads(line) for file in plan["rows"] for line in Path(file).read_text().splitlines()]
assert all(row["messages"][-1]["content"].endswith("{MARK}") for row in rows)
out = Path(plan["folder"]) / "out"
written(out, tensors())
print(json.dumps({{"event": "step", "step": 1, "of": 1, "loss": 0.5}}))
print(json.dumps({{"event": "done"}}), flush=True)
"""
"""Stands in for the training: it reads the rows, and writes an adapter that has learnt nothing from them."""


class Scripted(Replica):
    """Answers as the base, or with the mark where the adapter shall have learnt to."""

    def __init__(self) -> None:
        super().__init__()
        self.knows = True
        self.leaks = False

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        adapted = any(each["scale"] for each in body["lora"])
        question = body["messages"][-1]["content"]
        country = next((name for name in COUNTRIES if name in question), None)
        knows = country is not None and (self.knows or not adapted)
        text = f"The capital of {country} is {COUNTRIES[country]}." if knows and country else "I do not know."
        if adapted and (country is not None or self.leaks):
            text += f" {MARK}"
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return web.json_response({"choices": [choice], "usage": usage})


@contextmanager
def scripted(folder: Path, *, auto_promote: bool = False) -> Iterator[tuple[Gateway, Scripted]]:
    """Serves a model with an alias that releases manage, and runs jobs."""
    replica = Scripted()
    program = folder / "training" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(TRAINER)
    program.chmod(0o700)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", replica.answer)
    base = write_base(folder / "base.gguf")
    model = LlamaCppModel(name=BASE, source=f"file://{base}", adapters=AdapterBounds(max=2))
    managed = Managed(base=BASE, max_canary=0.5, auto_promote=auto_promote)
    catalog = Catalog(models=(model,), aliases=(Alias(name=ALIAS, managed=managed),))
    tuning = Tuning(enabled=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        Loop() as loop,
        engine(loop, app) as port,
        gateway(loop, folder, catalog, handle_of=lambda name: replica, tuning=tuning) as up,
    ):
        patch.setattr(running, "TRAINING", program.parents[1])
        patch.setattr(release_keeper, "SETTLE_S", 0.0)
        patch.setattr(release_keeper, "PERIOD_S", 0.1)
        replica.url = f"http://127.0.0.1:{port}/v1"
        jobs = TuningReplica(up.services.config.store, tuning)
        jobs.configure(catalog)
        loop.do(jobs.start())
        yield up, replica
        loop.do(jobs.close())
