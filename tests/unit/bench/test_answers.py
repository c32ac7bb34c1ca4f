"""The figures of answers count what somebody reads, and the curve what another threshold would do."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from serving.retrieval.types import Attribution, Citation, Position

CITED = Attribution((Citation(0, 1, "f", "f.md", "F", "q", Position(0, 1, None), 1.0),), ())


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark, which imports LanceDB."""
    return importlib.import_module("bench.retrieval.answers")


@pytest.fixture
def answer(bench: ModuleType) -> Callable[..., Any]:
    def answer(text: str = "", *, kind: str = "plain", near: float = 0.5, refused: bool = False) -> Any:
        pages, answers = ((), ()) if kind == "unanswerable" else (("f.md",), ("make `up`",))
        question = bench.Question(kind, "tuning", "How?", (), pages, answers)
        return bench.Answer(question, text, Attribution((), ()) if refused else CITED, (), relevance=near)

    return answer


def test_an_answer_counts_by_the_words_that_are_read(answer: Callable[..., Any]) -> None:
    late = answer("word " * 58 + "**run** `make up`")
    assert late.right
    assert not late.right_within(60)
    assert answer("word " * 57 + "**run** `make up`").right_within(60)
    refused = answer("make up", refused=True)
    assert not refused.right
    assert not refused.right_within(60)


def test_the_curve_counts_both_mistakes_at_each_threshold(bench: ModuleType, answer: Callable[..., Any]) -> None:
    off = [answer(kind="unanswerable", near=near) for near in (0.1, 0.27, 0.4)]
    rows = bench.curve([*off, answer(near=0.2), answer(near=0.6)]).splitlines()
    assert "| 0.18 | 2 of 3 (67%) | 0 of 2 (0%) |" in rows
    assert "| 0.27, the default | 2 of 3 (67%) | 1 of 2 (50%) |" in rows
    assert "| 0.42 | 0 of 3 (0%) | 1 of 2 (50%) |" in rows
