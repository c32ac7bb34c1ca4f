"""What a person gets who asks assistants of a running stack about this documentation: answers, and their times.

    eval "$(make -s env)"
    python -m bench retrieval stack_answers docs another [--half tuning|held-out] [--answerable N] [--others N]

The questions are those of questions.jsonl that follow no other one, evenly chosen of a half; `--others` are questions
that no page answers. They are asked one after the other, and each of all assistants in turn, so that the load of the
host is the same for all. URL and KEY are those of the stack.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.retrieval.answers import FIRST_WORDS, UNANSWERABLE, Question, plain

TIMEOUT_S = 600


@dataclass(slots=True)
class StreamedAnswer:
    """A streamed answer; times are seconds since the question."""

    question: Question
    text: str = ""
    first_s: float = 0.0
    """When its first word came."""
    whole_s: float = 0.0
    tokens: int = 0
    citations: list[dict[str, Any]] = field(default_factory=list)
    unsupported: int = 0
    """Sentences that no passage supports, which the page marks."""
    passages: int = 0
    """Passages that were found for it."""

    def take(self, frame: dict[str, Any], now: float) -> None:
        """Adds a frame of the stream."""
        self.tokens = (frame.get("usage") or {}).get("completion_tokens", self.tokens)
        for choice in frame.get("choices", []):
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                self.first_s = self.first_s or now
                self.text += text
            beside = delta.get("headrace") or {}
            self.citations += beside.get("citations", [])
            self.unsupported += len(beside.get("unsupported", []))
            self.passages = max(self.passages, beside.get("retrieved", 0))

    @property
    def refused(self) -> bool:
        """Whether it is the assistant's refusal, which it gives where no passage is good enough."""
        return not self.passages

    @property
    def right(self) -> bool:
        return not self.refused and self.question.answered_by(self.text)

    @property
    def right_at_once(self) -> bool:
        return self.right and self.question.answered_by(" ".join(plain(self.text).split()[:FIRST_WORDS]))

    @property
    def tokens_per_second(self) -> float | None:
        """Speed after the first word; None where the text came at once."""
        took = self.whole_s - self.first_s
        return (self.tokens - 1) / took if self.tokens > 1 and took > 0 else None


def evenly(questions: Sequence[Question], count: int) -> list[Question]:
    """Returns so many of the questions, at equal distances."""
    count = min(count, len(questions))
    return [questions[i * len(questions) // count] for i in range(count)]


def ask(client: httpx.Client, assistant: str, question: Question) -> StreamedAnswer:
    """Asks a question and returns its answer."""
    answer, began = StreamedAnswer(question), time.monotonic()
    body = {
        "model": assistant,
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [{"role": "user", "content": question.question}],
    }
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        for line in response.iter_lines():
            if line.startswith("data: {"):
                answer.take(json.loads(line.removeprefix("data: ")), time.monotonic() - began)
    answer.whole_s = time.monotonic() - began
    return answer


def report(answers: dict[str, list[StreamedAnswer]]) -> str:
    """Returns the figures of each assistant as a table in Markdown."""
    lines = [
        f"| assistant | questions | right | of these in the first {FIRST_WORDS} words | right and unmarked "
        "| wrong, with a mark | wrong, without | refused by mistake | unanswerable answered | of these marked "
        "| words | first word s | whole s | tokens/s |",
        "| --- " * 14 + "|",
    ]
    for name, all_of_it in answers.items():
        asked = [a for a in all_of_it if a.question.kind != UNANSWERABLE]
        others = [a for a in all_of_it if a.question.kind == UNANSWERABLE]
        wrong = [a for a in asked if not a.right and not a.refused]
        taken = [a for a in others if not a.refused]
        speeds = [speed for a in all_of_it if (speed := a.tokens_per_second) is not None]
        said = [a for a in all_of_it if not a.refused] or all_of_it
        figures = (
            f"{len(asked)} and {len(others)}",
            sum(a.right for a in asked),
            sum(a.right_at_once for a in asked),
            sum(a.right and not a.unsupported for a in asked),
            sum(bool(a.unsupported) for a in wrong),
            sum(not a.unsupported for a in wrong),
            sum(a.refused for a in asked),
            len(taken),
            sum(bool(a.unsupported) for a in taken),
            round(statistics.median(len(a.text.split()) for a in said)),
            f"{statistics.median(a.first_s for a in said):.1f}",
            f"{statistics.median(a.whole_s for a in said):.1f}",
            f"{statistics.median(speeds):.1f}" if speeds else "at once",
        )
        lines.append(f"| {name} | " + " | ".join(map(str, figures)) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("assistants", nargs="+", help="names of assistants or models of the stack")
    parser.add_argument("--half", choices=("tuning", "held-out"), default="held-out")
    parser.add_argument("--answerable", type=int, default=20, help="number of questions that a page answers")
    parser.add_argument("--others", type=int, default=8, help="number of questions that no page answers")
    parser.add_argument("--show", action="store_true", help="also print every answer of the tuning half")
    options = parser.parse_args()
    if options.show and options.half != "tuning":
        parser.error("answers of the held-out half are not shown, since settings must not be tuned to them")
    half = [q for q in Question.load() if q.half == options.half and not q.before]
    chosen = [
        *evenly([q for q in half if q.pages], options.answerable),
        *evenly([q for q in half if q.kind == UNANSWERABLE], options.others),
    ]
    loads = [os.getloadavg()[0]]
    answers: dict[str, list[StreamedAnswer]] = {name: [] for name in options.assistants}
    headers = {"Authorization": f"Bearer {os.environ['KEY']}"}
    with httpx.Client(base_url=os.environ["URL"], headers=headers, timeout=TIMEOUT_S, trust_env=False) as client:
        for place, question in enumerate(chosen, 1):
            for name, given in answers.items():
                given.append(answer := ask(client, name, question))
                if options.show:
                    mark = "refused" if answer.refused else "right" if answer.right else "wrong"
                    print(f"[{name}: {mark}, {answer.unsupported} marked] {question.question}\n{answer.text}\n")
            loads.append(os.getloadavg()[0])
            print(f"{place} of {len(chosen)} questions", file=sys.stderr, flush=True)
    print(f"{options.half} half; load of the host {min(loads):.1f} to {max(loads):.1f}\n")
    print(report(answers))


if __name__ == "__main__":
    main()
