"""Citations after generation: which sentence of which chunk supports each sentence of an answer.

No model is asked. A sentence is supported when a source sentence contains most of its content words, is close to it in
meaning, and differs in nothing that changes the meaning: numbers, names, negations, opposites. Everything else is
marked as unsupported, including true sentences in quite different words, since precision comes first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.text.words import SentenceWords, opposed, read
from serving.retrieval.types import Attribution, Citation, Hit, Position, TextSpan

MIN_RECALL = 0.7
"""Minimum share of a claim's content words that its source must contain."""
MIN_COSINE = 0.5
MIN_SUPPORT = 0.7
"""Minimum mean of recall and cosine."""

_CANDIDATES = 3  # per claim, by recall: only these are embedded
_MIN_WORDS = 2  # a sentence with fewer content words ("Sure!") makes no claim
_MAX_WORDS = 400  # longer sequences are not sentences: comparing word order is quadratic
_MAX_CLAIMS = 300  # distinct sentences of an answer; further ones count as unsupported
_MAX_SOURCES = 3_000  # of the best hits; the number of comparisons is the product of both
_TRIES = 10  # contradicting sources with a claim's words, before it counts as unsupported
_LIST_MARK = re.compile(r"(?:[-*+•>#|]+|\d+[.)])\s+")
_FENCE = re.compile(r"^```.*?(?:^```|\Z)", re.MULTILINE | re.DOTALL)


class SentenceEmbedder(Protocol):
    """Embeds texts to unit vectors, float32[n, dimensions]."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class _Claim:
    start: int
    end: int
    text: str
    words: SentenceWords


@dataclass(frozen=True, slots=True)
class _Source:
    """One sentence of a chunk, or two adjacent ones."""

    hit: Hit
    start: int
    end: int
    words: SentenceWords
    context: frozenset[str]

    @property
    def text(self) -> str:
        return self.hit.text[self.start : self.end]


def attribute(answer: str, hits: Sequence[Hit], embedder: SentenceEmbedder) -> Attribution:
    """Attributes each claim of an answer to the best source sentence among the hits.

    Questions, greetings and code blocks make no claims: they are neither cited nor unsupported.
    """
    claims = list(_claims(answer))
    sources = list(islice(_distinct(source for hit in hits for source in _sources(hit)), _MAX_SOURCES))
    candidates: dict[str, list[tuple[_Source, float]]] = {}
    for claim in claims:
        if claim.text not in candidates and len(candidates) < _MAX_CLAIMS:
            candidates[claim.text] = _candidates(claim, sources)
    held = {claim: [source.text for source, _ in found] for claim, found in candidates.items() if found}
    texts = list(dict.fromkeys(text for claim, sources in held.items() for text in (claim, *sources)))
    vectors = dict(zip(texts, embedder.embed(texts), strict=True)) if texts else {}
    citations, unsupported = [], []
    for claim in claims:
        found = candidates.get(claim.text, [])
        graded = [(_support(recall, vectors[claim.text] @ vectors[source.text]), source) for source, recall in found]
        support, source = max(graded, key=lambda pair: pair[0], default=(0.0, None))
        if source is None or support < MIN_SUPPORT:
            unsupported.append(TextSpan(claim.start, claim.end))
        else:
            citations.append(_citation(claim, source, support))
    return Attribution(tuple(citations), tuple(unsupported))


def _claims(answer: str) -> Iterator[_Claim]:
    code = [match.span() for match in _FENCE.finditer(answer)]
    prose = _FENCE.sub(lambda match: "\n" * len(match.group()), answer)
    assert len(prose) == len(answer), code
    for start, end in sentence_spans(prose):
        if mark := _LIST_MARK.match(prose, start, end):
            start = mark.end()
        text = prose[start:end]
        words = read(text)
        enough = len(words.content) >= _MIN_WORDS or words.numbers
        if enough and not text.rstrip("\"'”)*_ ").endswith(("?", ":")):
            yield _Claim(start, end, text, words)


def _sources(hit: Hit) -> Iterator[_Source]:
    spans = list(sentence_spans(hit.text))
    context = read(f"{hit.title}\n{hit.heading}").stems
    for index, (start, end) in enumerate(spans):
        yield _Source(hit, start, end, read(hit.text[start:end]), context)
        if index + 1 < len(spans):
            after = spans[index + 1][1]
            yield _Source(hit, start, after, read(hit.text[start:after]), context)


def _distinct(sources: Iterable[_Source]) -> Iterator[_Source]:
    """Returns the first of each group of equal sentences."""
    seen: set[tuple[str, frozenset[str]]] = set()
    for source in sources:
        if (key := (source.text, source.context)) not in seen:
            seen.add(key)
            yield source


def _candidates(claim: _Claim, sources: Sequence[_Source]) -> list[tuple[_Source, float]]:
    """Returns the sources with most words of a claim and no contradiction, highest recall (then shortest) first."""
    if len(claim.words.sequence) > _MAX_WORDS:
        return []
    recalled = [(source, recall) for source in sources if (recall := _recall(claim.words, source)) >= MIN_RECALL]
    recalled.sort(key=lambda pair: (-pair[1], pair[0].end - pair[0].start))
    consistent = (pair for pair in recalled[:_TRIES] if _consistent(claim.words, pair[0]))
    return list(islice(consistent, _CANDIDATES))


def _recall(claim: SentenceWords, source: _Source) -> float:
    """Returns the share of the claim's content words in the source; words in title and heading count half."""
    held = len(claim.content & source.words.stems)
    around = len((claim.content & source.context) - source.words.stems)
    return (held + 0.5 * around) / len(claim.content) if claim.content else 0.0


def _consistent(claim: SentenceWords, source: _Source) -> bool:
    """Returns whether claim and source agree in everything that changes a sentence's meaning."""
    words = source.words
    return (
        len(words.sequence) <= _MAX_WORDS
        and claim.numbers <= words.numbers
        and claim.names <= words.stems | source.context
        and _negated_alike(claim, words)
        and not opposed(claim, words)
        and not _substituted(claim, source)
        and _clauses_kept(claim, words)
        and _numbers_bound_alike(claim, words)
    )


def _negated_alike(claim: SentenceWords, source: SentenceWords) -> bool:
    """Returns whether both have the same number of negations, and mostly negate the same words."""
    shared = claim.content & source.content
    mine, theirs = claim.negated & shared, source.negated & shared
    if mine != theirs and 2 * len(mine & theirs) < len(mine | theirs):
        return False
    used = [c for c in source.clauses if 2 * len(claim.content & {w.stem for w in c}) >= len(c)]
    counted = {word.clause for clause in used for word in clause}
    return claim.negators(None) == source.negators(counted)


def _substituted(claim: SentenceWords, source: _Source) -> bool:
    """Returns whether a word of the claim replaces another word of the source.

    It may be a synonym, or exactly the error that a citation must not hide.
    """
    known = source.words.stems | source.context
    mine, theirs = claim.sequence, source.words.sequence
    for kind, i, j, _, _ in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if kind == "replace" and not known.issuperset(mine[i:j]):
            return True
    return False


def _clauses_kept(claim: SentenceWords, source: SentenceWords) -> bool:
    """Returns whether the claim contains most words of a later clause of its source, or none of them.

    "It is A here; it is B there" supports "it is B there", whose subject is in the earlier clause, but not "it is B
    here", which takes one word of the later clause and omits the other.
    """
    used = [c for c in source.clauses if claim.content & {w.stem for w in c}]
    seen: set[str] = set()
    for position, clause in enumerate(used):
        stems = {w.stem for w in clause} - seen
        taken = stems & claim.content
        if position and taken and 2 * len(taken) <= len(stems):
            return False
        seen |= stems
    return True


def _numbers_bound_alike(claim: SentenceWords, source: SentenceWords) -> bool:
    """Returns whether each number keeps a neighbouring word, if a clause has several numbers that could be confused."""
    for clause in source.clauses:
        numbers = {w.stem for w in clause if w.number}
        for number in numbers & claim.numbers if len(numbers) > 1 else ():
            if not _neighbours(claim.sequence, number, numbers) & _neighbours(source.sequence, number, numbers):
                return False
    return True


def _neighbours(sequence: list[str], number: str, numbers: set[str]) -> set[str]:
    found: set[str] = set()
    for index, stem in enumerate(sequence):
        if stem == number:
            found.update(sequence[max(0, index - 1) : index + 2])
    return found - numbers


def _support(recall: float, cosine: float) -> float:
    return 0.0 if cosine < MIN_COSINE else float(min(1.0, (recall + cosine) / 2))


def _citation(claim: _Claim, source: _Source, support: float) -> Citation:
    hit = source.hit
    position = Position(hit.start + source.start, hit.start + source.end, hit.page)
    return Citation(
        start_index=claim.start,
        end_index=claim.end,
        file_id=hit.file_id,
        file_name=hit.file_name,
        title=hit.title,
        quote=source.text,
        position=position,
        support=round(support, 4),
    )
