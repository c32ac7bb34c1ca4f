"""What the shipped assistant cites is right: the question set about this documentation, asked over HTTP.

A citation counts as right when its quote comes from a file that answers the question, or holds the answer itself.
Whether the quote supports the very words of the answer is not judged here: tests/unit/retrieval/test_cite.py does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

QUESTIONS = Path(__file__).with_name("questions.jsonl")
PRECISION = 0.9
"""Below the goal of 0.95, which the bench shows: of some 28 citations one more wrong one is no failure of the code."""
CITED = 0.4
"""Least share of on-topic questions whose answer is cited. SmolLM2-135M reaches 0.5 (bench/retrieval/citations.py)."""


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


def test_some_citations_are_right(ask):
    asked = [ask(q) for q in questions(on_topic=True) if q["question"] in SOME]
    assert len(asked) == len(SOME)
    found = [(a, c) for a in asked for c in a.citations]
    assert [(a.question["question"], a.answer, c["quote"]) for a, c in found if not a.right(c)] == []
    assert len({a.question["question"] for a, _ in found}) >= CITED * len(SOME)


def test_what_no_document_holds_is_refused(ask):
    for question in questions(on_topic=False)[:2]:
        asked = ask(question)
        assert asked.answer.startswith("I found nothing"), asked
        assert asked.citations == []


@pytest.mark.soak
@pytest.mark.usefixtures("documentation")
def test_citations_are_right(ask):
    """All questions, since a wrong citation among the ten of a smaller sample would say little about the precision."""
    asked = [ask(q) for q in questions(on_topic=True)]
    found = [(a, c) for a in asked for c in a.citations]
    wrong = [(a.question["question"], a.answer, c["quote"]) for a, c in found if not a.right(c)]
    missing = [a.question["question"] for a in asked if not a.citations]
    assert len(missing) <= (1 - CITED) * len(asked), missing
    assert len(wrong) <= (1 - PRECISION) * len(found), wrong


@pytest.mark.soak
@pytest.mark.usefixtures("documentation")
def test_what_the_documents_do_not_hold_is_refused(ask):
    for question in questions(on_topic=False):
        asked = ask(question)
        assert asked.answer.startswith("I found nothing"), asked
        assert asked.citations == []
