"""Questions to others before anything is made: all are asked at once, and one limit holds for them together.

What was not answered is named: silence of a cloud, a registry or the Hub says nothing about what it was asked for.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi

from infra.mistakes import Mistake

LIMIT_S = 20
"""Seconds for all questions of one `up` together."""

GRACE_S = 1
"""A question has so many seconds less, in which it can end the program that it runs."""

AT_ONCE = 16
"""Questions asked at the same time: a cloud's command line takes some 100 MB of memory."""

Ask = Callable[[float], Any]
"""Asks within so many seconds, and returns the answer. Raises `NoAnswer`."""


class NoAnswer(Exception):
    """There is no answer; the text says why."""


@dataclass(frozen=True)
class Check:
    """Questions, and what their answers mean."""

    questions: Mapping[str, Ask]
    """By what they ask for, in words that follow `without an answer about`."""
    judge: Callable[[Mapping[str, Any]], Iterable[Mistake]]
    """Returns the mistakes, by the answers of those questions that have one."""
    unasked: Mapping[str, str] = field(default_factory=dict)
    """What nobody can be asked, with the reason."""


@dataclass(frozen=True)
class Findings:
    """What the answers showed, and what has no answer, with the reason."""

    mistakes: list[Mistake]
    unanswered: Mapping[str, str]

    def notice(self) -> str:
        """Returns what has no answer, in words for the operator; empty if everything has one."""
        if not self.unanswered:
            return ""
        lines = [f"  {about}: {why}" for about, why in self.unanswered.items()]
        return "\n".join(["these are not known to be fine, since nobody answered for them:", *lines])


def mistakes(checks: Iterable[Check]) -> list[Mistake]:
    """Returns the mistakes, and warns of what has no answer."""
    found = ask(checks)
    if notice := found.notice():
        pulumi.log.warn(notice)
    return found.mistakes


def ask(checks: Iterable[Check], limit_s: float = LIMIT_S) -> Findings:
    """Asks all questions at once, and waits at most `limit_s` seconds for all of them."""
    given = list(checks)
    questions = {about: question for check in given for about, question in check.questions.items()}
    answers, silent = _answers(questions, limit_s)
    judged = [mistake for check in given for mistake in check.judge(_answers_to(check, answers))]
    unasked = {about: why for check in given for about, why in check.unasked.items()}
    return Findings(judged, silent | unasked)


def _answers_to(check: Check, answers: Mapping[str, Any]) -> dict[str, Any]:
    return {about: answers[about] for about in check.questions if about in answers}


def _answers(questions: Mapping[str, Ask], limit_s: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the answers, and why the other questions have none, each in the order of `questions`."""
    end = time.monotonic() + limit_s
    waiting: queue.SimpleQueue[tuple[str, Ask]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    begun: set[str] = set()
    for each in questions.items():
        waiting.put(each)

    def work() -> None:
        while (left := end - time.monotonic()) > 0:
            try:
                about, question = waiting.get_nowait()
            except queue.Empty:
                return
            begun.add(about)
            try:
                done.put((about, question(max(left - GRACE_S, left / 2))))
            except Exception as e:  # a thread's error would be lost
                done.put((about, e))

    # Threads that end with the program: a question whose time is up is left alone.
    for _ in range(min(AT_ONCE, len(questions))):
        threading.Thread(target=work, daemon=True).start()
    received: dict[str, Any] = {}
    while len(received) < len(questions) and (left := end - time.monotonic()) > 0:
        try:
            about, answer = done.get(timeout=left)
        except queue.Empty:
            break
        if isinstance(answer, Exception) and not isinstance(answer, NoAnswer):
            raise answer
        received[about] = answer
    late = f"the {limit_s:g} seconds that all questions have together"
    silence = {True: NoAnswer(f"no answer within {late}"), False: NoAnswer(f"not asked within {late}")}
    whole = {about: received.get(about, silence[about in begun]) for about in questions}
    silent = {about: str(answer) for about, answer in whole.items() if isinstance(answer, NoAnswer)}
    return {about: answer for about, answer in whole.items() if about not in silent}, silent
