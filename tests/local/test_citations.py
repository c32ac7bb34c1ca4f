"""What the shipped assistant cites is right: the question set about this documentation, asked over HTTP.

A citation is right when its quote comes from a file that answers the question, or holds the answer itself.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import pytest

QUESTIONS = Path(__file__).with_name("questions.jsonl")
PRECISION = 0.95
CITED = 0.5
"""Least share of on-topic questions whose answer is cited; the smallest model gets REPLACE_MEASURED."""


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


def check(asked):
    cited = [a for a in asked if a.citations]
    found = [(a, c) for a in asked for c in a.citations]
    wrong = [(a.question["question"], a.answer, c["quote"]) for a, c in found if not a.right(c)]
    assert len(cited) >= CITED * len(asked), [a.question["question"] for a in asked if not a.citations]
    assert len(wrong) <= (1 - PRECISION) * len(found), wrong


def test_citations_of_a_sample_are_right(ask):
    check([ask(q) for q in random.Random(3).sample(questions(on_topic=True), 20)])


@pytest.mark.soak
def test_citations_of_all_answers_are_right(ask):
    check([ask(q) for q in questions(on_topic=True)])


def test_what_the_documents_do_not_hold_is_refused(ask):
    for question in questions(on_topic=False):
        asked = ask(question)
        assert asked.answer.startswith("I found nothing"), asked
        assert asked.citations == []
