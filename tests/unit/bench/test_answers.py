"""The figures of answers count what somebody reads, and the curve what another threshold would do."""

from __future__ import annotations

from bench.retrieval.answers import Answer, Question, curve
from serving.retrieval.types import Attribution, Citation, Position

CITED = Attribution((Citation(0, 1, "f", "f.md", "F", "q", Position(0, 1, None), 1.0),), ())


def answer(text: str = "", *, kind: str = "plain", near: float = 0.5, refused: bool = False) -> Answer:
    pages, answers = ((), ()) if kind == "unanswerable" else (("f.md",), ("make `up`",))
    question = Question(kind, "tuning", "How?", (), pages, answers)
    return Answer(question, text, Attribution((), ()) if refused else CITED, (), relevance=near)


def test_an_answer_counts_by_the_words_that_are_read() -> None:
    late = answer("word " * 58 + "**run** `make up`")
    assert late.right
    assert not late.right_within(60)
    assert answer("word " * 57 + "**run** `make up`").right_within(60)
    refused = answer("make up", refused=True)
    assert not refused.right
    assert not refused.right_within(60)


def test_the_curve_counts_both_mistakes_at_each_threshold() -> None:
    off = [answer(kind="unanswerable", near=near) for near in (0.1, 0.27, 0.4)]
    rows = curve([*off, answer(near=0.2), answer(near=0.6)]).splitlines()
    assert "| 0.18 | 2 of 3 (67%) | 0 of 2 (0%) |" in rows
    assert "| 0.27, the default | 2 of 3 (67%) | 1 of 2 (50%) |" in rows
    assert "| 0.42 | 0 of 3 (0%) | 1 of 2 (50%) |" in rows
