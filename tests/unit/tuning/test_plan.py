from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from serving.exports.formats import FORMATS
from serving.protocol.tuning import USED, DatasetRequest, JobRequest, Recipe, RowFormat
from serving.tuning import rows
from serving.tuning.plan import TYPES, Base, Method, Plan, RecipeFailed

DATASET = "dset_" + "0" * 32


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = Plan(
        method="distil",
        base=Base("/base.gguf", "0" * 64),
        folder=str(tmp_path),
        bases="/bases",
        rows=("/train.jsonl",),
        teacher=Base("/teacher.gguf", "1" * 64),
        rate=1e-3,
    )
    plan.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == plan


def test_both_sides_know_the_same_methods_types_and_formats() -> None:
    assert set(get_args(Method)) == set(USED)
    assert Recipe.model_json_schema()["properties"]["type"]["enum"] == list(TYPES)
    assert set(RowFormat.__args__) == set(FORMATS) - {"trl-prompt-only"}
    assert set().union(*USED.values()) == set(Recipe.model_fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"type": "Q4_K"}}, "sft does not use type"),
        ({"recipe": {"beta": 0.2}}, "sft does not use beta"),
        ({"recipe": {"steps": 3, "epochs": 1}}, "cannot be combined"),
        ({"recipe": {"steps": 3, "surprise": 1}}, "Extra inputs"),
        ({"recipe": {"learning_rate": 0}}, "greater than 0"),
        ({"dataset": None}, "sft needs a data set"),
        ({"method": "quantise"}, "quantise uses no data set"),
        ({"method": "distil"}, "distil needs a teacher"),
        ({"teacher": "m"}, "no other method uses one"),
        ({"method": "prune", "retain": DATASET}, "prune does not use retain"),
        ({"name": "Capital"}, "pattern"),
        ({"dataset": "../../etc"}, "pattern"),
    ],
)
def test_a_job_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    asked = {"method": "sft", "name": "atlas", "base": "m", "dataset": DATASET}
    JobRequest.model_validate(asked)
    with pytest.raises(ValidationError, match=message):
        JobRequest.model_validate(asked | changes)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"file": "file-1", "redact": True}, "excludes redact"),
        ({"file": "file-1", "splits": {"train": 1}}, "excludes splits"),
        ({"validation_file": "file-1"}, "needs file"),
        ({"splits": {"test": 1}}, "must include train"),
        ({"splits": {"train": 1, "../x": 1}}, "pattern"),
        ({"format": "trl-prompt-only"}, "Input should be"),
        ({"alike": 0}, "greater than 0"),
    ],
)
def test_a_data_set_that_makes_no_sense_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DatasetRequest.model_validate(asked)


@pytest.mark.parametrize(
    ("recipe", "steps"), [({}, 20), ({"steps": 7}, 7), ({"epochs": 3}, 4), ({"epochs": 3, "batch": 64}, 1)]
)
def test_epochs_are_counted_in_steps(recipe: dict[str, Any], steps: int) -> None:
    assert Recipe.model_validate(recipe).steps_for(10) == steps


ASKED = [{"role": "user", "content": "Why?"}]
GOOD, BAD = ([{"role": "assistant", "content": text}] for text in ("Because.", "No."))
CHAT = {"messages": [*ASKED, *GOOD]}
PAIR = {"prompt": ASKED, "chosen": GOOD, "rejected": BAD}
OPENAI = {"input": {"messages": ASKED}, "preferred_output": GOOD, "non_preferred_output": BAD}
UP, DOWN = ({"prompt": ASKED, "completion": text, "label": text is GOOD} for text in (GOOD, BAD))
LEARNT = [{"prompt": ASKED, "completion": GOOD}]


@pytest.mark.parametrize(
    ("method", "given", "taken"),
    [
        ("sft", [CHAT], LEARNT),
        ("sft", [PAIR], LEARNT),
        ("sft", [OPENAI], LEARNT),
        ("sft", [UP, DOWN], LEARNT),
        ("distil", [DOWN, CHAT], LEARNT),
        ("dpo", [PAIR, OPENAI, CHAT], [PAIR, PAIR]),
        ("reward", [PAIR], [PAIR]),
        ("kto", [UP, DOWN, CHAT], [UP, DOWN]),
        ("kto", [UP], "has only one kind"),
        ("dpo", [CHAT], "no rows that dpo can use"),
        ("sft", [DOWN], "no rows that sft can use"),
    ],
)
def test_each_method_takes_the_rows_that_it_can_use(
    method: Any, given: list[Any], taken: list[Any] | str, tmp_path: Path
) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in given))
    plan = Plan(method=method, base=Base("", ""), folder="", bases="")
    if isinstance(taken, list):
        assert rows.of_method(plan, (str(file),)) == taken
    else:
        with pytest.raises(RecipeFailed, match=taken):
            rows.of_method(plan, (str(file),))


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"messages": []}\n{"mess')
    with pytest.raises(RecipeFailed, match=r"line 2 of train\.jsonl"):
        rows.read((str(file),))
