"""Whether a search found anything to answer from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.index import stretched
from serving.retrieval.text.words import read
from serving.retrieval.types import Hit, prefix

THRESHOLD = 0.27
"""Least relevance of a chunk that is about the question.

Chosen for the default embedder with the tuning half of bench/retrieval/questions.jsonl; docs/benchmarks.md has figures.
"""

MINILM_THRESHOLD = 0.36
"""The same for an index that the embedder of earlier releases built, measured with 30 questions about other things."""

COVERAGE_WEIGHT = 0.3


def good_enough(question: str, hits: Sequence[Hit], threshold: float = THRESHOLD) -> bool:
    """Whether any hit is about the question; otherwise the assistant should say that it found nothing."""
    return relevance(question, hits) >= threshold


JUDGED = 4
"""Hits whose relevance is measured anew, where the embedder that found them has another scale."""


def judged(question: str, hits: Sequence[Hit], judge: OnnxEmbedder) -> list[Hit]:
    """Returns hits, the best of them with the similarities of `judge`: by those `THRESHOLD` was measured."""
    best = hits[:JUDGED]
    vectors = judge.embed([prefix(hit.title, hit.heading) + hit.text for hit in best])
    cosines = vectors @ judge.embed([question], "query")[0]
    again = [
        replace(hit, dense_score=stretched(float(cosine), judge.unrelated))
        for hit, cosine in zip(best, cosines, strict=True)
    ]
    return [*again, *(replace(hit, dense_score=0.0) for hit in hits[JUDGED:])]


def relevance(question: str, hits: Sequence[Hit]) -> float:
    """The best hit's similarity plus a share (0..0.3) for the question's content words that it holds."""
    asked = read(question).content
    return max((_relevance(asked, hit) for hit in hits), default=0.0)


# No repetition holds the quote that begins it, so each ends where another could begin: the time is linear.
_QUOTED = "|".join(('"[^"]*"', "“[^“”]*”", "„[^„“”]*[“”]", "`[^`]*`"))


def without_subject(question: str, description: str) -> str:
    """Returns a question without the name that an assistant's description has, if it has one name.

    What all documents are about resembles each of them, and says nothing about what is asked: by its name alone, "Can
    Headrace order a pizza?" would be about Headrace's documentation. A question of nothing but the name stays whole.

    It is for measuring what a question means alone. The name is meant as it is written: "go" is not Go, nor is it
    part of a URL, an identifier or a quotation.
    """
    names = {word.text for word in read(description).all if word.name}
    if len(names) != 1:
        return question
    name = rf"(?<![-./=:@\w]){re.escape(names.pop())}(?:['’]s)?(?![-/=@\w]|[.:]\w)"
    rest = re.sub(rf"({_QUOTED})|{name}", lambda found: found[1] or " ", question)
    if rest == question or not read(rest).content:
        return question
    return " ".join(rest.split())


def _relevance(asked: frozenset[str], hit: Hit) -> float:
    held = asked & read(f"{hit.title}\n{hit.heading}\n{hit.text}").stems
    return hit.dense_score + COVERAGE_WEIGHT * len(held) / max(1, len(asked))
