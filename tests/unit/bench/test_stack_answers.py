"""What is counted of a stack's streamed answers: what is right, what is marked, and how fast it came."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, which imports LanceDB."""
    return importlib.import_module("bench.retrieval.stack_answers")


def streamed(bench: ModuleType, text: str, *, kind: str = "plain", marked: int = 0, passages: int = 5) -> Any:
    pages, answers = ((), ()) if kind == "unanswerable" else (("f.md",), ("make up",))
    answer = bench.StreamedAnswer(bench.Question(kind, "tuning", "How?", (), pages, answers))
    first, *rest = text.split(" ")
    answer.take({"choices": [{"delta": {"role": "assistant", "content": None}}]}, 0.5)
    answer.take({"choices": [{"delta": {"content": first}}]}, 2.0)
    answer.take({"choices": [{"delta": {"content": " " + " ".join(rest)}}]}, 3.0)
    beside = {"citations": [], "unsupported": [{"start_index": 0}] * marked, "retrieved": passages}
    answer.take({"choices": [{"delta": {"headrace": beside}}]}, 4.0)
    answer.take({"choices": [], "usage": {"completion_tokens": 11}}, 4.0)
    answer.whole_s = 4.0
    return answer


def test_speed_is_counted_from_the_first_word(bench: ModuleType) -> None:
    answer = streamed(bench, "run make up")
    assert (answer.text, answer.first_s, answer.tokens_per_second) == ("run make up", 2.0, 5.0)


def test_the_table_counts_what_is_right_wrong_marked_and_refused(bench: ModuleType) -> None:
    answers = [
        streamed(bench, "run `make up`"),
        streamed(bench, "perhaps make up", marked=1),
        streamed(bench, "word " * 60 + "make up"),
        streamed(bench, "make down", marked=1),
        streamed(bench, "make down"),
        streamed(bench, "not told, make up", passages=0),
        streamed(bench, "boil it", kind="unanswerable", marked=1),
        streamed(bench, "not told", kind="unanswerable", passages=0),
    ]
    head, _, row = bench.report({"docs": answers}).splitlines()
    counted = dict(zip(head.strip("| ").split(" | "), row.strip("| ").split(" | "), strict=True))
    assert counted == {
        "assistant": "docs",
        "questions": "6 and 2",
        "right": "3",
        "of these in the first 60 words": "2",
        "right and unmarked": "2",
        "wrong, with a mark": "1",
        "wrong, without": "1",
        "refused by mistake": "1",
        "unanswerable answered": "1",
        "of these marked": "1",
        "words": "2",
        "first word s": "2.0",
        "whole s": "4.0",
        "tokens/s": "5.0",
    }


def test_a_sample_is_evenly_chosen(bench: ModuleType) -> None:
    assert bench.evenly(list(range(10)), 4) == [0, 2, 5, 7]
    assert bench.evenly([1, 2], 4) == [1, 2]
