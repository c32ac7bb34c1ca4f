"""The questions about the documentation can be answered from the pages that they name."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
QUESTIONS = [json.loads(line) for line in (ROOT / "bench/retrieval/questions.jsonl").read_text().splitlines()]


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").replace("**", "").split())


def test_every_answer_stands_on_a_page() -> None:
    texts = {page: plain((ROOT / page).read_text()) for question in QUESTIONS for page in question["pages"]}
    for question in QUESTIONS:
        for answer in question["answers"]:
            assert any(plain(answer) in texts[page] for page in question["pages"]), (question["question"], answer)


def test_the_halves_share_no_page_and_no_question() -> None:
    halves = defaultdict(set)
    for question in QUESTIONS:
        halves[question["half"]] |= {question["question"], *question["pages"][:1]}
    assert halves.keys() == {"tuning", "held-out"}
    assert not halves["tuning"] & halves["held-out"]


def test_there_are_enough_of_every_kind() -> None:
    assert len(QUESTIONS) >= 200
    kinds = {question["kind"] for question in QUESTIONS}
    assert {"plain", "follow-up", "topic change", "quoted", "german", "french", "negation"} <= kinds
    assert {"small talk", "unanswerable"} <= kinds
