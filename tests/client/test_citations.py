"""What the shipped assistant answers is right: questions about this documentation, asked over HTTP.

It quotes passages, each with a citation. An answer counts as right when one of them comes from a file that answers the
question, or holds the answer itself. bench/retrieval/answers.py asks questions that nothing was tuned on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

QUESTIONS = Path(__file__).with_name("questions.jsonl")
RIGHT = 0.9
"""Least share of the questions that are answered correctly: 55 of 56 are."""


@dataclass(frozen=True)
class Asked:
    question: dict
    answer: str
    citations: list[dict]

    def right(self, citation):
        names = {Path(file).name for file in self.question["files"]}  # a stored file has no folder
        quote = " ".join(citation["quote"].split())
        return citation["file_name"] in names or any(must in quote for must in self.question["must"])


def questions(on_topic):
    found = map(json.loads, QUESTIONS.read_text().splitlines())
    return [q for q in found if bool(q["files"]) is on_topic]


@pytest.fixture(scope="module")
def ask(stack):
    with stack.client() as client:

        def answer(question):
            body = {"model": "docs", "messages": [{"role": "user", "content": question["question"]}]}
            message = client.post("/v1/chat/completions", json=body).raise_for_status().json()["choices"][0]["message"]
            return Asked(question, message["content"], message["headrace"]["citations"])

        yield answer


SOME = (
    "What does make purge do?",
    "How do I rotate the API key?",
    "When is a document ingested again?",
    "How many dimensions does a vector have?",
    "How do I roll back a canary?",
    "How can I run two stacks on one host?",
)
"""Questions whose pages each stack of the tests knows (`tests.stacks.stack.PAGES`)."""


def test_some_questions_are_answered_correctly(ask):
    asked = [ask(q) for q in questions(on_topic=True) if q["question"] in SOME]
    assert len(asked) == len(SOME)
    assert [(a.question["question"], a.answer) for a in asked if not any(map(a.right, a.citations))] == []
    assert all(c["support"] == 1 for a in asked for c in a.citations)


def test_unanswerable_questions_are_refused(ask):
    for question in questions(on_topic=False)[:2]:
        asked = ask(question)
        assert asked.answer.startswith("I found nothing"), asked
        assert asked.citations == []


@pytest.mark.soak
@pytest.mark.usefixtures("documentation")
def test_questions_are_answered_correctly(ask):
    asked = [ask(q) for q in questions(on_topic=True)]
    wrong = [(a.question["question"], a.answer) for a in asked if not any(map(a.right, a.citations))]
    assert len(wrong) <= (1 - RIGHT) * len(asked), wrong


@pytest.mark.soak
@pytest.mark.usefixtures("documentation")
def test_unanswerable_questions_are_refused_over_http(ask):
    for question in questions(on_topic=False):
        asked = ask(question)
        assert asked.answer.startswith("I found nothing"), asked
        assert asked.citations == []
