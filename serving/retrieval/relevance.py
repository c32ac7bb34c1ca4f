"""Whether a search found anything to answer from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from serving.retrieval.text.words import read
from serving.retrieval.types import Hit, prefix
from serving.retrieval.vectors import TextEmbedder

THRESHOLD = 0.36
"""Least relevance of a chunk that is about the question.

Measured with 30 off-topic questions (football, recipes, weather, ...) against 1,400 aerodynamics abstracts and
against 311 chunks of technical notes: 59 of 60 stay below. Of Cranfield's 225 queries all reach it, of 30
questions about the notes 27 do. The cosine alone, at the same false accepts, loses 11 of those 30.
"""

COVERAGE_WEIGHT = 0.3


def good_enough(question: str, hits: Sequence[Hit]) -> bool:
    """Whether any hit is about the question; otherwise the assistant should say that it found nothing."""
    return relevance(question, hits) >= THRESHOLD


JUDGED = 4
"""Hits whose relevance is measured anew, where the embedder that found them has another scale."""


def judged(question: str, hits: Sequence[Hit], judge: TextEmbedder) -> list[Hit]:
    """Returns hits, the best of them with the cosines of `judge`: by those `THRESHOLD` was measured."""
    best = hits[:JUDGED]
    vectors = judge.embed([question, *(prefix(hit.title, hit.heading) + hit.text for hit in best)])
    cosines = vectors[1:] @ vectors[0]
    again = [replace(hit, dense_score=float(cosine)) for hit, cosine in zip(best, cosines, strict=True)]
    return [*again, *(replace(hit, dense_score=0.0) for hit in hits[JUDGED:])]


def relevance(question: str, hits: Sequence[Hit]) -> float:
    """The best hit's cosine plus a share (0..0.3) for the question's content words that it holds."""
    asked = read(question).content
    return max((_relevance(asked, hit) for hit in hits), default=0.0)


def _relevance(asked: frozenset[str], hit: Hit) -> float:
    held = asked & read(f"{hit.title}\n{hit.heading}\n{hit.text}").stems
    return hit.dense_score + COVERAGE_WEIGHT * len(held) / max(1, len(asked))
