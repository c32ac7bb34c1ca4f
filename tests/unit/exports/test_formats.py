from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from serving.exports.completion import CapturedMessage, CapturedRating, Completion, Rival
from serving.exports.formats import FORMATS
from tests.unit.exports.making import completion, rated

PROMPT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is it?"}]
BLUE = [{"role": "assistant", "content": "It is blue."}]
GREEN = [{"role": "assistant", "content": "It is green."}]
UP = CapturedRating("fb_up", at=2, thumb=True)
DOWN = CapturedRating("fb_down", at=1, thumb=False)
FIX = CapturedRating("fb_fix", at=3, correction="It is green.")
BETTER = CapturedRating("fb_choice", at=4, preferred=True, rival=Rival("chatcmpl-r", "It is green.", True))
WORSE = CapturedRating("fb_choice", at=4, preferred=False)


def rows(format: str, one: Completion, min_score: float = 0.5) -> list[dict[str, object]]:
    """The rows as a reader of the file gets them."""
    return [json.loads(row.data.model_dump_json()) for row in FORMATS[format].rows(one, min_score)]


@pytest.mark.parametrize(
    ("format", "one", "expected"),
    [
        ("trl-sft", rated(UP), {"messages": PROMPT + BLUE}),
        ("trl-sft", rated(UP, FIX), {"messages": PROMPT + GREEN}),
        ("openai-chat", rated(UP), {"messages": PROMPT + BLUE}),
        ("trl-preference", rated(BETTER), {"prompt": PROMPT, "chosen": BLUE, "rejected": GREEN}),
        ("trl-preference", rated(FIX), {"prompt": PROMPT, "chosen": GREEN, "rejected": BLUE}),
        (
            "openai-preference",
            rated(FIX),
            {"input": {"messages": PROMPT}, "preferred_output": GREEN, "non_preferred_output": BLUE},
        ),
        ("trl-unpaired-preference", rated(UP), {"prompt": PROMPT, "completion": BLUE, "label": True}),
        ("trl-unpaired-preference", rated(DOWN), {"prompt": PROMPT, "completion": BLUE, "label": False}),
        ("trl-unpaired-preference", rated(BETTER), {"prompt": PROMPT, "completion": BLUE, "label": True}),
        ("trl-unpaired-preference", rated(WORSE), {"prompt": PROMPT, "completion": BLUE, "label": False}),
        ("trl-prompt-only", completion(), {"prompt": PROMPT}),
    ],
)
def test_formats_follow_their_specifications(format: str, one: Completion, expected: dict[str, object]) -> None:
    assert rows(format, one) == [expected]


@pytest.mark.parametrize(
    ("format", "one"),
    [
        ("trl-sft", completion()),
        ("trl-sft", rated(DOWN)),
        ("trl-sft", rated(CapturedRating("fb", at=1, tags=("late",)))),
        ("trl-sft", rated(CapturedRating("fb", at=1, score=0.49))),
        ("trl-preference", rated(UP)),
        ("trl-preference", rated(WORSE)),
        ("trl-preference", rated(replace(BETTER, rival=Rival("r", "It is green.", False)))),
        ("trl-preference", rated(replace(BETTER, rival=Rival("r", None, True)))),
        ("trl-preference", rated(replace(BETTER, rival=Rival("r", " It is\nblue.", True)))),
        ("trl-preference", rated(replace(BETTER, rival=None))),
        ("trl-unpaired-preference", completion()),
    ],
)
def test_empty_completions_yield_no_row(format: str, one: Completion) -> None:
    assert rows(format, one) == []


def test_corrections_imply_a_bad_answer() -> None:
    labels = {row["completion"][0]["content"]: row["label"] for row in rows("trl-unpaired-preference", rated(FIX))}
    assert labels == {"It is green.": True, "It is blue.": False}


def test_a_verdict_counts_for_the_answer_beside_a_correction() -> None:
    labels = [row["label"] for row in rows("trl-unpaired-preference", rated(UP, FIX))]
    assert labels == [True, True]


def test_the_newest_verdict_counts_whatever_the_order_of_ratings() -> None:
    newer = CapturedRating("fb_newer", at=5, thumb=False)
    assert rows("trl-sft", rated(UP, newer)) == rows("trl-sft", rated(newer, UP)) == []


def test_a_score_is_good_from_the_least_good_one_on() -> None:
    one = rated(CapturedRating("fb", at=1, score=0.7))
    assert rows("trl-sft", one, min_score=0.7)
    assert not rows("trl-sft", one, min_score=0.71)


def test_a_thumb_counts_more_than_a_score_of_the_same_rating() -> None:
    assert rows("trl-sft", rated(CapturedRating("fb", at=1, thumb=True, score=0)))


def test_the_developer_is_the_system_of_chat_templates() -> None:
    one = rated(UP, messages=(CapturedMessage("developer", "Be brief."), CapturedMessage("user", "What is it?")))
    assert rows("trl-sft", one) == [{"messages": PROMPT + BLUE}]


def test_a_pair_is_the_same_whichever_answer_won() -> None:
    (one,) = FORMATS["trl-preference"].rows(rated(BETTER), 0.5)
    (other,) = FORMATS["trl-preference"].rows(rated(FIX), 0.5)
    assert one.data != other.data
    assert one.key == other.key


SCHEMAS = {name: Draft202012Validator(format.row.model_json_schema()) for name, format in FORMATS.items()}

texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)
ratings = st.builds(
    CapturedRating,
    id=st.uuids().map(str),
    at=st.floats(0, 10),
    thumb=st.none() | st.booleans(),
    score=st.none() | st.floats(0, 1),
    correction=st.none() | texts,
    preferred=st.none() | st.booleans(),
    rival=st.none() | st.builds(Rival, id=st.just("r"), answer=st.none() | texts, allowed=st.booleans()),
)
messages = st.builds(
    CapturedMessage, role=st.sampled_from(["system", "developer", "user", "assistant"]), content=st.text()
)


@given(
    st.sampled_from(sorted(FORMATS)),
    st.lists(messages, min_size=1, max_size=4).map(tuple),
    texts,
    st.lists(ratings, max_size=4).map(tuple),
    st.floats(0, 1),
)
def test_every_row_fits_the_schema_of_its_format(format, said, answer, given_ratings, min_score) -> None:
    one = completion(answer=answer, messages=said, ratings=given_ratings)
    for row in rows(format, one, min_score):
        SCHEMAS[format].validate(row)
        assert None not in row.values()


@given(st.text(" \t\n\u00a0", max_size=5), st.text(" \t\n", max_size=5))
def test_white_space_alone_makes_no_other_row(before: str, after: str) -> None:
    plain, padded = rated(UP), rated(UP, question=f"{before}What is  it?{after}", answer=f"{before}It\nis blue.{after}")
    keys = [row.key for one in (plain, padded) for row in FORMATS["trl-sft"].rows(one, 0.5)]
    assert len(keys) == 2
    assert keys[0] == keys[1]
