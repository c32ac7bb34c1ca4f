"""Finding an answer in a text, and counting votes."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.assistants.strategies import answers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 + 4 = 7\n#### 72", "72"),
        ("The answer is 18.", "18"),
        ("the ANSWER is: **1,234.0**", "1234"),
        ("Final Answer: $70,000", "70000"),
        ("Final answer is (B)", "b"),
        ("The answer is \\boxed{-3.50}", "-3.5"),
        ("The answer is:\n\n 5 apples", "5"),
        ("The answer is 12 + 5 = 17 dollars a day", "17"),
        ("The answer is 1. No: the answer is 2.", "2"),
        ("So she has 3 left, then 4.", "4"),
        ("It costs $.50 each", "0.5"),
        ("The answer is Paris, of course!", "paris, of course"),
        ("#### -0", "0"),
        ("#### 007", "7"),
        ("#### 2,000,000.10", "2000000.1"),
        ("pages 1,2", "2"),
        ("The answer is −4", "-4"),
    ],
)
def test_an_answer_is_found(text, value):
    assert answers.find(text).value == value


@pytest.mark.parametrize("text", ["", "I do not know", "The answer is", "####", "The answer is **.**", "#### ####"])
def test_texts_without_an_answer_have_none(text):
    assert answers.find(text) is None


@pytest.mark.parametrize(
    "piece", ["####\n", "The answer is\n", "123,", "1,234,567,", "\\boxed{", "=", "$", "a" * 80 + "\n"]
)
def test_a_flood_is_read_in_no_time(piece):
    flood = piece * (2_000_000 // len(piece))
    answers.value(flood)  # the suite's timeout is the judge
    assert answers.find(f"{flood}\n#### 7").value == "7"


def test_a_marked_answer_is_shown_without_its_reasoning():
    assert answers.find("2 * 9 = 18\nThe answer is 18 dollars.").text == "18 dollars."
    assert answers.find("2 * 9 = 18").text == "2 * 9 = 18"


def test_only_a_finished_mark_counts_in_a_truncated_text():
    assert answers.find("The answer is 5\nand so on 6", whole=False).value == "5"
    assert answers.find("first 4\nThe answer is 1", whole=False) is None
    assert answers.find("4\n5\n6", whole=False) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18 dollars for 2 days", "18"),
        ("She makes $18 a day", "18"),
        ("Yes.", "yes"),
        ("x = 5", "5"),
        ("", ""),
        ("1/2", "1/2"),
        ("2026-11-26", "2026-11-26"),
        ("10:30", "10:30"),
        ("1e-05", "0.00001"),
        ("1e+20", "100000000000000000000"),
        ("2e+16", "20000000000000000"),
    ],
)
def test_the_value_of_an_answer(text, value):
    assert answers.value(text) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12))
def test_a_number_is_found_however_it_is_written(number):
    wanted = answers.normalise(f"{number:f}")
    assert Decimal(wanted) == number
    for written in (f"{number:,f}", f"{number:f}00", f"{number:,f} dollars", f"**{number:f}**", f"x = {number:f}"):
        assert answers.find(f"Thus.\nThe answer is {written}").value == wanted
        assert answers.find(f"Thus\n#### {written}").value == wanted


@given(st.text(max_size=400))
def test_any_text_is_read_and_values_are_bounded(text):
    found = answers.find(text)
    assert found is None or len(found.value) <= answers.MAX_VALUE + 1
    once = answers.normalise(text)
    assert len(once) <= answers.MAX_VALUE + 1
    answers.find(text, whole=False)
    answers.value(text)


@given(st.text(alphabet="0123456789.,-$ =x#", max_size=60))
def test_any_number_format_is_parsed(text):
    answers.find(f"#### {text}")
    answers.normalise(text)


def test_ties_are_won_by_the_first_answer():
    assert answers.majority(["7", "3", "7", "3"]) == answers.Vote("7", 2)
    assert answers.majority(["3", "7", "3", "7"]) == answers.Vote("3", 2)


def test_missing_answers_do_not_vote():
    assert answers.majority([None, None, "1"]) == answers.Vote("1", 1)
    assert answers.majority([None]) is None
    assert answers.majority([]) is None


@given(st.lists(st.sampled_from(["1", "2", "3", None]), max_size=12))
def test_the_majority_vote_is_correct(values):
    vote = answers.majority(values)
    counts = Counter(v for v in values if v is not None)
    if vote is None:
        assert not counts
    else:
        assert vote.count == counts[vote.value] == max(counts.values())
        assert all(values.index(vote.value) <= values.index(v) for v, c in counts.items() if c == vote.count)
