"""Decides whether a search found anything relevant to the question, and which of it is best."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from serving.core.ttl_cache import TtlCache
from serving.retrieval.embedders.onnx import MARKS, OnnxEmbedder
from serving.retrieval.fuse import FOLLOW_UP_WEIGHT
from serving.retrieval.text.words import read
from serving.retrieval.types import Chunk, Hit, prefix
from serving.retrieval.vectors import chunk_vectors, stretched

THRESHOLD = 0.27
"""Minimum relevance of a chunk about the question.

Chosen for the default embedder with the tuning half of bench/retrieval/questions.jsonl; docs/benchmarks.md has figures.
"""

MINILM_THRESHOLD = 0.36
"""The same for an index built by the embedder of earlier releases, measured with 30 questions about other topics."""

COVERAGE_WEIGHT = 0.3


def good_enough(question: str, hits: Sequence[Hit], threshold: float = THRESHOLD) -> bool:
    """Returns whether any hit is relevant to the question; otherwise the assistant should say that it found nothing."""
    return relevance(question, hits) >= threshold


JUDGED = 4
"""Number of hits whose relevance is measured again, if their embedder has another scale."""


def judged(question: str, hits: Sequence[Hit], judge: OnnxEmbedder) -> list[Hit]:
    """Returns hits, the best of them with similarities of `judge`, for which `THRESHOLD` was measured."""
    best = hits[:JUDGED]
    vectors = judge.embed([prefix(hit.title, hit.heading) + hit.text for hit in best])
    cosines = vectors @ judge.embed([question], "query")[0]
    again = [
        replace(hit, dense_score=stretched(float(cosine), judge.unrelated))
        for hit, cosine in zip(best, cosines, strict=True)
    ]
    return [*again, *(replace(hit, dense_score=0.0) for hit in hits[JUDGED:])]


READ_AGAIN = 8
"""Hits that are read again before passages are quoted."""

KEPT = 4096
KEPT_S = 600
"""Vectors of passages that are kept, 1.5 KB each, and seconds."""

SECOND_WEIGHT = 0.5
"""What the second embedder's cosine adds to a score.

On the tuning half of bench/retrieval/questions.jsonl, 0.3 to 1 and 8 to 14 hits are alike.
"""


class SecondEmbedder:
    """Orders passages by two embedders, which err at different ones. Safe to share between threads.

    Embedding the passages of a question takes 800 ms of a processor, so that their vectors are kept for ten minutes.
    """

    def __init__(self, embedder: OnnxEmbedder) -> None:
        self._embedder = embedder
        self._vectors: TtlCache[NDArray[np.float32]] = TtlCache(KEPT_S, KEPT)
        self._lock = threading.Lock()

    def read_again(self, meant: Sequence[str], hits: Sequence[Hit]) -> list[Hit]:
        """Returns hits, the best of them in the order in which this embedder agrees with the search.

        `meant` is the question, and with a question before it the same behind that one. Scores stay those of the
        search.
        """
        head, tail = hits[:READ_AGAIN], hits[READ_AGAIN:]
        if len(head) < 2:
            return [*hits]
        asked = self._embedder.embed([window_end(text, self._embedder) for text in meant], "query")
        weights = (1 - FOLLOW_UP_WEIGHT, FOLLOW_UP_WEIGHT) if len(meant) > 1 else (1.0,)
        opinions = self._vectors_of(head) @ asked.T @ np.asarray(weights, np.float32)
        scores = [hit.score + SECOND_WEIGHT * float(opinion) for hit, opinion in zip(head, opinions, strict=True)]
        return [*(head[at] for at in sorted(range(len(head)), key=lambda at: (-scores[at], at))), *tail]

    def _vectors_of(self, hits: Sequence[Hit]) -> NDArray[np.float32]:
        digests = [_digest(hit) for hit in hits]
        with self._lock:
            known = {digest: found for digest in digests if (found := self._vectors.get(digest)) is not None}
        missing = {digest: hit for digest, hit in zip(digests, hits, strict=True) if digest not in known}
        computed = chunk_vectors([_chunk(hit) for hit in missing.values()], self._embedder)
        with self._lock:
            for digest, vector in zip(missing, computed, strict=True):
                self._vectors.put(digest, vector)
        known |= zip(missing, computed, strict=True)
        return np.stack([known[digest] for digest in digests])


def _digest(hit: Hit) -> bytes:
    # With the file's id, so that the time of an answer tells nobody what other tenants' documents contain.
    return hashlib.sha256("\0".join((hit.file_id, hit.chunk_id, hit.title, hit.heading, hit.text)).encode()).digest()


def window_end(text: str, embedder: OnnxEmbedder) -> str:
    """Returns the end of a text that the embedder reads whole: the question is the last part of it."""
    while text and embedder.count_tokens(text) > embedder.max_tokens - MARKS:
        text = text[max(1, len(text) // 8) :]
    return text


def relevance(question: str, hits: Sequence[Hit]) -> float:
    """Returns the best hit's similarity plus a share (0..0.3) for the question's content words that it contains."""
    asked = read(question).content
    return max((_relevance(asked, hit) for hit in hits), default=0.0)


# No repetition contains the quote that begins it, so each ends where another could begin: the time is linear.
_QUOTED = "|".join(('"[^"]*"', "“[^“”]*”", "„[^„“”]*[“”]", "`[^`]*`"))


def without_subject(question: str, description: str) -> str:
    """Returns a question without the name in an assistant's description, if that has one name.

    The common subject of all documents resembles each of them, and says nothing about the question: because of its name
    alone, "Can Headrace order a pizza?" would match Headrace's documentation. A question of only the name is kept. The
    result is used only for measuring similarity. The name is matched as it is written: "go" is not Go, nor is it
    removed from a URL, an identifier or a quotation.
    """
    names = {word.text for word in read(description).all if word.name}
    if len(names) != 1:
        return question
    name = rf"(?<![-./=:@\w]){re.escape(names.pop())}(?:['’]s)?(?![-/=@\w]|[.:]\w)"
    rest = re.sub(rf"({_QUOTED})|{name}", lambda found: found[1] or " ", question)
    if rest == question or not read(rest).content:
        return question
    return " ".join(rest.split())


def _chunk(hit: Hit) -> Chunk:
    return Chunk(0, hit.title, hit.heading, hit.text, hit.start, hit.end, hit.page)


def _relevance(asked: frozenset[str], hit: Hit) -> float:
    held = asked & read(f"{hit.title}\n{hit.heading}\n{hit.text}").stems
    return hit.dense_score + COVERAGE_WEIGHT * len(held) / max(1, len(asked))
