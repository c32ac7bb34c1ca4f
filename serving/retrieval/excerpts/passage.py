"""Fits hits into a prompt's token budget, as excerpts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.types import Hit

if TYPE_CHECKING:
    from serving.retrieval.embedders.onnx import OnnxEmbedder


def within(budget: int, hits: Sequence[Hit], question: str, embedder: OnnxEmbedder) -> list[Hit]:
    """Returns the hits that fit `budget` tokens, best first; if the best does not fit, its best passage."""
    chosen: list[Hit] = []
    left = budget
    for hit in hits:
        cost = embedder.count_tokens(hit.text)
        if cost <= left:
            chosen.append(hit)
            left -= cost
        elif not chosen:
            return [passage(hit, budget, question, embedder)]
    return chosen


def passage(hit: Hit, budget: int, question: str, embedder: OnnxEmbedder) -> Hit:
    """Returns a hit cut to the sentence nearest to the question, with surrounding sentences that fit `budget` tokens.

    The sentences after it explain it more often than those before it, so that the passage first grows forwards. It has
    at least one sentence, whatever its length.
    """
    spans = list(sentence_spans(hit.text))
    sentences = embedder.embed([hit.text[start:end] for start, end in spans])
    first = last = int(np.argmax(sentences @ embedder.embed([question], "query")[0]))

    def fits(first: int, last: int) -> bool:
        inside = first >= 0 and last < len(spans)
        return inside and embedder.count_tokens(hit.text[spans[first][0] : spans[last][1]]) <= budget

    while (forwards := fits(first, last + 1)) or fits(first - 1, last):
        first, last = (first, last + 1) if forwards else (first - 1, last)
    start, end = spans[first][0], spans[last][1]
    return replace(hit, text=hit.text[start:end], start=hit.start + start, end=hit.start + end)
