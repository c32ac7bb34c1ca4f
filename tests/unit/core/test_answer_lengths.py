"""Classes of answers have one definition, which settings, metrics and pages follow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import pytest

from serving.config import EndToEndByLength
from serving.core.answer_lengths import LENGTHS, AnswerLength, extent, length_of
from serving.telemetry.catalogue import JUDGED_ANSWERS

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("tokens", "length"), [(0, "short"), (100, "short"), (101, "medium"), (1000, "medium"), (1001, "long")]
)
def test_the_class_of_an_answer_follows_from_its_tokens(tokens: int, length: AnswerLength) -> None:
    assert length_of(tokens) == length


def test_bounds_ascend_and_the_last_class_has_none() -> None:
    assert list(LENGTHS) == list(get_args(AnswerLength))
    assert list(LENGTHS.values()) == sorted(set(LENGTHS.values()))
    assert [math.isinf(most) for most in LENGTHS.values()] == [False] * (len(LENGTHS) - 1) + [True]


def test_settings_and_the_metric_have_every_class_with_its_extent() -> None:
    described = {name: field.description for name, field in EndToEndByLength.model_fields.items()}
    assert described == {length: f"of answers of {extent(length)}" for length in LENGTHS}
    for length in LENGTHS:
        assert f"{length}: {extent(length)}" in JUDGED_ANSWERS.help


@pytest.mark.parametrize("page", ["docs/explanation/objectives.md", "monitoring/runbooks/EndToEndBudgetBurn.md"])
def test_pages_state_the_bounds(page: str) -> None:
    said = f"`short` answers have {extent('short')}, `medium` ones {extent('medium').removesuffix(' tokens')},"
    assert said in (ROOT / page).read_text(encoding="utf-8")


def test_the_example_of_objectives_states_the_bounds() -> None:
    said = f"# of {extent('long')}; short is up to {LENGTHS['short']:,}, and medium up to {LENGTHS['medium']:,}\n"
    assert said in (ROOT / "docs/how-to/operate.md").read_text(encoding="utf-8")
