"""Questions are asked at once, one limit holds for all of them, and silence is never taken for a good answer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
import pytest

from infra.mistakes import Mistake
from infra.resources import inquiry
from infra.resources.inquiry import Ask, Check, NoAnswer


def wrong(answers: Mapping[str, Any]) -> list[Mistake]:
    """Takes every answer for a mistake."""
    return [Mistake(about, str(answer), "correct it") for about, answer in answers.items()]


def asked(limit_s: float = 60, **questions: Ask) -> inquiry.Findings:
    return inquiry.ask([Check(questions, wrong)], limit_s)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What opens at the end of a test, so that no thread outlives it."""
    event = threading.Event()
    yield event
    event.set()


def test_all_questions_are_asked_at_once() -> None:
    together = threading.Barrier(8, timeout=60)
    found = asked(**{f"q{i}": lambda limit_s: together.wait() for i in range(8)})
    assert len(found.mistakes) == 8, "each waits for the others, which one after the other would never end"
    assert found.unanswered == {}


def test_one_limit_holds_for_all_questions(gate: threading.Event) -> None:
    given: list[float] = []

    def slow(limit_s: float) -> None:
        given.append(limit_s)
        gate.wait()

    many = {f"q{i}": slow for i in range(3 * inquiry.AT_ONCE)}
    found = asked(limit_s=0.4, **many, zero=lambda limit_s: "never asked")
    assert found.mistakes == []
    assert set(found.unanswered) == {*many, "zero"}
    said = {True: "no answer within", False: "not asked within"}
    asked_in_time = {f"q{i}" for i in range(inquiry.AT_ONCE)}
    assert found.unanswered == {
        about: f"{said[about in asked_in_time]} the 0.4 seconds that all questions have together"
        for about in (*many, "zero")
    }
    assert len(given) == inquiry.AT_ONCE, "the others would have no time"
    assert all(0 < limit_s < 0.4 for limit_s in given)


def test_answers_in_time_count_though_others_are_late(gate: threading.Event) -> None:
    found = asked(limit_s=0.4, late=lambda limit_s: gate.wait(), good=lambda limit_s: "an answer")
    assert [str(mistake) for mistake in found.mistakes] == ["headrace:good: an answer; correct it"]
    assert list(found.unanswered) == ["late"]


def silent(limit_s: float) -> None:
    raise NoAnswer("it is silent")


def test_what_has_no_answer_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warned.append)
    checks = [
        Check({"the quota": silent, "the zones": lambda limit_s: "none"}, wrong, {"the rights": "nobody knows them"}),
        Check({"the image": lambda limit_s: "gone"}, wrong),
    ]
    assert [mistake.key for mistake in inquiry.mistakes(checks)] == ["the zones", "the image"]
    assert warned == [
        "these are not known to be fine, since nobody answered for them:\n"
        "  the quota: it is silent\n"
        "  the rights: nobody knows them"
    ]
    warned.clear()
    inquiry.mistakes(checks[1:])
    inquiry.mistakes([])
    assert warned == []


def test_an_error_of_the_program_is_none_of_the_cloud() -> None:
    def broken(limit_s: float) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        asked(q=broken)
