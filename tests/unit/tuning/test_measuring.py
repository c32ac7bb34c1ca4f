"""What cards say of smaller models: how far their predictions are from the parent's, and how much of a loss is back."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from serving.tuning import measuring
from serving.tuning.measuring import PredictedText, compare, measure
from serving.tuning.plan import MEASURED, Base, Plan, RecipeFailed


class Said:
    """Hears the events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, object]]] = []

    def say(self, event: str, **fields: object) -> None:
        self.events.append((event, fields))


class Never:
    """Nobody asks the job to end. The real one would take the signal of the process that runs the tests."""

    def check(self, step: int = 0) -> None:
        return


PREDICTED = {
    "parent": {1: math.log(0.5), 2: math.log(0.4), 3: math.log(0.1)},
    "model": {1: math.log(0.25), 2: math.log(0.5), 3: math.log(0.25)},
}

LOADED: list[str] = []


class Scripted:
    """An engine whose models predict by the name of their file, and are as fast as the length of their predictions."""

    def __init__(self, file: Path, threads: int) -> None:
        if file.read_bytes() != b"GGUF":
            raise RuntimeError("no model")
        self.name = file.name
        LOADED.append(file.name)

    def tokens(self, text: str) -> list[int]:
        assert text.startswith("# What survives failures")
        return [0] * measuring.FIRST + [1, 2]

    def next_token(self, prompt: object) -> dict[int, float]:
        return PREDICTED[self.name]

    def speeds(self, prompt: object) -> tuple[float, float]:
        return (20.0, 200.0) if self.name == "model" else (10.0, 100.0)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(measuring, "Engine", Scripted)
    LOADED.clear()
    for name in ("parent", "model"):
        (tmp_path / name).write_bytes(b"GGUF")
    (tmp_path / "out").mkdir()
    return Plan(method="quantise", base=Base(str(tmp_path / "parent"), "0" * 64), folder=str(tmp_path), bases="")


def test_a_model_is_compared_with_its_parent_in_turns(plan: Plan, tmp_path: Path) -> None:
    measure(plan, tmp_path / "model", said := Said(), Never(), more=1)  # type: ignore[arg-type]
    found = json.loads((plan.out / MEASURED).read_text())
    assert found["more"] == 1
    # KL by its definition, and perplexity as the inverse of the geometric mean of the probabilities of tokens 1 and 2.
    kl = 0.5 * math.log(0.5 / 0.25) + 0.4 * math.log(0.4 / 0.5) + 0.1 * math.log(0.1 / 0.25)
    assert found["kl"] == pytest.approx(kl, abs=1e-5)
    assert (found["same_top"], found["positions"], found["threads"]) == (0, 2, 1)
    assert found["parent"]["perplexity"] == pytest.approx(1 / math.sqrt(0.5 * 0.4), abs=1e-3)
    assert found["model"]["perplexity"] == pytest.approx(1 / math.sqrt(0.25 * 0.5), abs=1e-3)
    assert (found["model"]["tokens_per_second"], found["parent"]["prompt_tokens_per_second"]) == (20, 100)
    assert found["model"]["bytes"] == 4
    assert LOADED == ["parent", "model"] * 3
    assert ("measured", found) in said.events


def test_a_token_that_was_not_predicted_counts_as_the_least_probable_one() -> None:
    assert PredictedText([{1: math.log(0.5), 2: math.log(0.25)}], [9]).perplexity == pytest.approx(4)


def test_a_model_that_equals_its_parent_costs_nothing() -> None:
    same = PredictedText([PREDICTED["parent"]] * 3, [1, 2, 3])
    assert (same.kl(same), same.same_top(same)) == (0, 1)


def test_models_that_take_more_memory_than_the_job_may_are_not_measured(plan: Plan, tmp_path: Path) -> None:
    little = Plan(**{name: getattr(plan, name) for name in ("method", "base", "folder", "bases")}, memory_bytes=10**8)
    measure(little, tmp_path / "model", said := Said(), Never())  # type: ignore[arg-type]
    assert [event for event, _ in said.events] == ["stage", "unmeasured"]
    assert not (plan.out / MEASURED).exists()
    measure(little, tmp_path / "model", Said(), Never(), loss={"whole": 1.0})  # type: ignore[arg-type]
    assert json.loads((plan.out / MEASURED).read_text()) == {"loss": {"whole": 1.0}}


def test_a_parent_that_llama_cpp_cannot_load_is_said_and_a_model_is_a_failure(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"")
    with pytest.raises(RecipeFailed, match="cannot load the model"):
        compare(tmp_path / "model", tmp_path / "parent", 1, Never())  # type: ignore[arg-type]
    (tmp_path / "parent").write_bytes(b"")
    measure(plan, tmp_path / "model", said := Said(), Never())  # type: ignore[arg-type]
    assert said.events[-1] == ("unmeasured", {"reason": "llama.cpp cannot load parent: no model"})
