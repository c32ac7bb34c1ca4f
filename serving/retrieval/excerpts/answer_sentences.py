"""Chooses the sentences of passages that answer a question, so that a quoted answer is short.

A sentence counts by its similarity to the question, by the question's rare words in it and in the heading above it, and
by the place of its passage. What a sentence cannot be understood without comes along: the code that it announces, the
header above a row of a table.
"""

from __future__ import annotations

import hashlib
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serving.core.ttl_cache import TtlCache
from serving.retrieval.embedders.onnx import OnnxEmbedder
from serving.retrieval.excerpts.units import Unit, count_words, first_words, lists_links, units
from serving.retrieval.fuse import FOLLOW_UP_WEIGHT
from serving.retrieval.relevance import window_end
from serving.retrieval.text.words import read
from serving.retrieval.types import CELLS, Hit
from serving.retrieval.vectors import stretched

WORDS = 120
"""Most words of the sentences of an answer."""

PASSAGES = 3
"""Most passages whose sentences are shown."""

SENTENCES = 6
"""Most sentences that are chosen, in equal shares of the passages."""

COVERAGE_WEIGHT = 0.5
"""What all of the question's words add to a similarity, each by its rarity in the passages.

On the tuning half of bench/retrieval/questions.jsonl, 0.35 to 0.7 are alike, and so are 0.03 to 0.08 for the place of a
passage and 0.1 to 0.2 for a number.
"""

HEADING_SHARE = 0.5
"""How much a word counts that is in the heading alone."""

PLACE_WEIGHT = 0.05
"""What a passage's sentences lose for each better passage."""

NUMBER_WEIGHT = 0.1
"""What a number adds if the question asks for one."""

LEEWAY = 0.5
"""How far below the best sentence another one may be."""

KEPT = 16_384
KEPT_S = 600
"""Vectors of sentences that are kept, 1.5 KB each, and seconds."""

_ASKS_NUMBER = re.compile(
    r"\b(?:how (?:many|much|long|often|large|big|fast|old|far|high|deep|tall|wide|heavy)|when|minim\w+|maxim\w+"
    r"|(?:what|which) (?:version|port|time|year|date|percentage|share|size|number|price|uptime)"
    r"|wie ?(?:viele?|lange?|oft|groß|hoch|tief|alt|schnell|weit|schwer)|wann"
    r"|combien|quand|quelle? (?:version|année|heure|taille|date|prix))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A unit of the passage at `place`, with its score."""

    score: float
    place: int
    index: int


class AnswerSentences:
    """Chooses sentences with an embedder that was trained to match questions and passages. Safe to share between
    threads.

    `embedder` is called at the first question. Embedding the sentences of a question takes a few hundred milliseconds
    of a processor, so that their vectors are kept for ten minutes.
    """

    def __init__(self, embedder: Callable[[], OnnxEmbedder]) -> None:
        self._embedder = embedder
        self._vectors: TtlCache[NDArray[np.float32]] = TtlCache(KEPT_S, KEPT)
        self._lock = threading.Lock()

    def choose(self, question: str, meant: Sequence[str], hits: Sequence[Hit]) -> list[Hit]:
        """Returns hits, best first, with the sentences that answer in `answers`; those that none was chosen of have
        none, and lists of links are left out if there is another hit.

        `meant` is the question without the subject of all documents, and with a question before it the same behind
        that one.
        """
        kept = [hit for hit in hits if not lists_links(hit, hits)] or [*hits]
        best = kept[:PASSAGES]
        parts = [units(hit) for hit in best]
        chosen = _Chosen(best, parts)
        ordered = sorted(self._candidates(question, meant, best, parts), key=lambda c: -c.score)
        for candidate in ordered:
            if candidate.score >= ordered[0].score - LEEWAY:
                chosen.take(candidate.place, candidate.index)
        answering = [replace(best[place], answers=spans) for place, spans in chosen.spans()]
        places = {place for place, _ in chosen.spans()}
        rest = [hit for place, hit in enumerate(kept) if place not in places]
        return [*answering, *(replace(hit, answers=()) for hit in rest)] if answering else kept

    def _candidates(
        self, question: str, meant: Sequence[str], hits: Sequence[Hit], parts: Sequence[Sequence[Unit]]
    ) -> Iterator[_Candidate]:
        texts = [[unit.text(hit) for unit in of] for hit, of in zip(hits, parts, strict=True)]
        similar = self._similarities(meant, hits, texts)
        stems = [[read(text).stems for text in of] for of in texts]
        rarity = _rarity(read(meant[-1]).content, [words for of in stems for words in of])
        total = sum(rarity.values()) or 1.0
        number = bool(_ASKS_NUMBER.search(question))
        for place, hit in enumerate(hits):
            above = read(f"{hit.title}\n{hit.heading}").stems
            for index, text in enumerate(texts[place]):
                words = stems[place][index]
                held = sum(rare if w in words else HEADING_SHARE * rare * (w in above) for w, rare in rarity.items())
                score = similar[place][index] + COVERAGE_WEIGHT * held / total - PLACE_WEIGHT * place
                if number and any(map(str.isdecimal, text)):
                    score += NUMBER_WEIGHT
                yield _Candidate(score, place, index)

    def _similarities(
        self, meant: Sequence[str], hits: Sequence[Hit], texts: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        embedder = self._embedder()
        keys = [_digest(hit, text) for hit, of in zip(hits, texts, strict=True) for text in of]
        known = dict(zip(keys, (text for of in texts for text in of), strict=True))
        with self._lock:
            vectors = {key: found for key in known if (found := self._vectors.get(key)) is not None}
        missing = [key for key in known if key not in vectors]
        vectors |= zip(missing, embedder.embed([known[key] for key in missing]), strict=True)
        with self._lock:
            for key in missing:
                self._vectors.put(key, vectors[key])
        weights = (1 - FOLLOW_UP_WEIGHT, FOLLOW_UP_WEIGHT) if len(meant) > 1 else (1.0,)
        asked = embedder.embed([window_end(text, embedder) for text in meant], "query").T @ np.asarray(
            weights, np.float32
        )
        cosines = iter(stretched(float(vectors[key] @ asked), embedder.unrelated) for key in keys)
        return [[next(cosines) for _ in of] for of in texts]


class _Chosen:
    """The units chosen so far, by passage, within the limits of words, passages and sentences."""

    def __init__(self, hits: Sequence[Hit], parts: Sequence[Sequence[Unit]]) -> None:
        self._hits = hits
        self._parts = parts
        self._each = SENTENCES // max(1, len(hits))
        self._taken: dict[int, dict[int, Unit]] = {}
        self._primary: Counter[int] = Counter()
        self._texts: set[str] = set()
        self._left = WORDS

    def take(self, place: int, index: int) -> None:
        """Takes a unit with what explains it, or alone, or not at all if it does not fit or its text is taken."""
        taken = self._taken.get(place, {})
        text = " ".join(self._parts[place][index].text(self._hits[place]).split())
        if self._primary[place] >= self._each or index in taken or text in self._texts:
            return
        companions = [at for at in self._companions(place, index) if at not in taken]
        if not self._fits(place, [index, *companions]):
            companions = []
        wanted = {at: self._parts[place][at] for at in (index, *companions)}
        if not self._fits(place, [*wanted]):
            if self._taken:
                return
            wanted = {index: self._shortened(place, index)}
        self._left -= sum(count_words(unit.text(self._hits[place])) for unit in wanted.values())
        self._primary[place] += 1
        self._texts.add(text)
        self._taken.setdefault(place, {}).update(wanted)

    def spans(self) -> list[tuple[int, tuple[tuple[int, int], ...]]]:
        """Returns the passages in the order of their best units, each with the characters to show; neighbouring units
        are one piece.
        """
        return [(place, tuple(self._pieces(place, taken))) for place, taken in self._taken.items()]

    def _pieces(self, place: int, taken: dict[int, Unit]) -> Iterator[tuple[int, int]]:
        begin: int | None = None
        for index in sorted(taken):
            unit = taken[index]
            begin = unit.start if begin is None else begin
            following = taken.get(index + 1)
            if following is None or self._hits[place].text[unit.end : following.start].strip():
                yield begin, unit.end
                begin = None

    def _fits(self, place: int, indexes: Sequence[int]) -> bool:
        return sum(count_words(self._parts[place][at].text(self._hits[place])) for at in indexes) <= self._left

    def _shortened(self, place: int, index: int) -> Unit:
        unit = self._parts[place][index]
        return replace(unit, end=unit.start + first_words(unit.text(self._hits[place]), self._left))

    def _companions(self, place: int, index: int) -> list[int]:
        """Returns the units that explain one: what a sentence announces, what announces code, and a row's header."""
        hit, parts = self._hits[place], self._parts[place]
        unit = parts[index]
        found = []
        if unit.text(hit).rstrip().endswith(":") and index + 1 < len(parts):
            found.append(index + 1)
        if unit.code and index:
            found.append(index - 1)
        if unit.row and (header := _header(hit, parts, index)) is not None:
            found.append(header)
        return found


def _header(hit: Hit, parts: Sequence[Unit], index: int) -> int | None:
    """Returns the first row of a table whose rows do not repeat the names of columns, if it contains no number."""
    if any(": " in cell for cell in parts[index].text(hit).split(CELLS)):
        return None
    first = index
    while first and parts[first - 1].row:
        first -= 1
    return first if first != index and not any(map(str.isdecimal, parts[first].text(hit))) else None


def _rarity(asked: frozenset[str], units: Sequence[frozenset[str]]) -> dict[str, float]:
    """Returns for each word how few of the units contain it."""
    counts = Counter(word for words in units for word in asked & words)
    return {word: math.log((len(units) + 1) / (counts[word] + 0.5)) for word in sorted(asked)}


def _digest(hit: Hit, text: str) -> bytes:
    # With the file's id, so that the time of an answer tells nobody what other tenants' documents contain.
    return hashlib.sha256(f"{hit.file_id}\0{text}".encode()).digest()
