"""Cuts a document into chunks along its structure: headings, then sentences, within a token budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, Self

from serving.retrieval.builder import ChunkBounds
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.types import CELLS, Block, Chunk, Document, Extraction

CONTEXT_TOKENS = 48
"""Tokens of the embedder's window that are reserved for title and heading, which precede a chunk's text."""
_SPECIAL_TOKENS = 2
_MIN_TOKENS = 100  # no word of a WordPiece tokenizer has more tokens, so every word fits
_READ_TOGETHER = 50_000  # characters: a tokenizer's words take fifty times the memory of their text
_LONGEST_WORD = 200  # a longer word is a single token, as its parts are
_REPEATED = 4  # times the text: half of a chunk may overlap, and titles and headings are repeated
_CHARACTERS_PER_TOKEN = 16  # limits text of few tokens: a word of over 100 characters is a single token


class WordTokenizer(Protocol):
    """The part of an embedder's tokenizer that chunking needs."""

    @property
    def max_tokens(self) -> int: ...
    def count_tokens(self, text: str) -> int: ...
    def word_spans(self, texts: Sequence[str]) -> list[list[tuple[int, int, int]]]: ...


@dataclass(frozen=True, slots=True)
class ChunkSettings:
    """Token budgets of a chunk's text; they are part of a collection's manifest."""

    max_tokens: int = 200
    overlap_tokens: int = 30

    def __post_init__(self) -> None:
        if self.max_tokens < _MIN_TOKENS:
            raise ValueError(f"max_tokens must be at least {_MIN_TOKENS}")
        if not 0 <= self.overlap_tokens <= self.max_tokens // 2:
            raise ValueError("overlap_tokens must lie between 0 and half of max_tokens")

    @classmethod
    def static(cls, max_chunk_size_tokens: int, chunk_overlap_tokens: int, window: int) -> Self:
        """OpenAI's static `chunking_strategy`, limited to the embedder's window."""
        budget = min(max_chunk_size_tokens, window - CONTEXT_TOKENS - _SPECIAL_TOKENS)
        return cls(budget, min(chunk_overlap_tokens, budget // 2))


@dataclass(frozen=True, slots=True)
class _Unit:
    """A sentence, or a part of a sentence that exceeds the budget; it is never cut further."""

    start: int
    end: int
    tokens: int
    block: Block


def chunk(
    document: Document, tokenizer: WordTokenizer, settings: ChunkSettings, bounds: ChunkBounds | None = None
) -> list[Chunk]:
    """Returns chunks in order. They cover the whole text; adjacent chunks of a section may overlap.

    No chunk's text has more than `settings.max_tokens` tokens. A heading stays with the text that follows it. Raises
    `UnreadableDocument` when the chunks together are far longer than a text within the bounds.
    """
    left = _REPEATED * (bounds or ChunkBounds()).characters
    chunks: list[Chunk] = []
    headings = _Headings(tokenizer, document.title)
    for units in _pack(_units(document, tokenizer, settings.max_tokens), settings):
        start, end = units[0].start, units[-1].end
        path = units[-1].block.heading
        title, heading = headings.fit(path)
        text = document.text[start:end]
        left -= len(title) + len(heading) + len(text)
        if left < 0:
            raise UnreadableDocument("too_large", "the headings of the file, repeated in each chunk, are too long")
        chunks.append(Chunk(len(chunks), title, heading, text, start, end, units[0].block.page))
    return chunks


def extraction(document: Document, chunks: Iterable[Chunk]) -> Extraction:
    """Counts how much of a document's text its chunks contain; a character in several chunks counts once."""
    within = end = 0
    for each in chunks:
        if document.text[each.start : each.end] == each.text and each.end > end:
            within += _visible(each.text[max(end - each.start, 0) :])
            end = each.end
    return Extraction(_visible(document.text) + document.unreadable, within, document.unread_pages)


def _visible(text: str) -> int:
    return sum(map(len, text.split()))


def _pack(units: Iterator[_Unit], settings: ChunkSettings) -> Iterator[list[_Unit]]:
    """Fills chunks; a new section starts a new chunk if the current one has more than headings."""
    current: list[_Unit] = []
    for unit in units:
        new_section = current and unit.block.heading != current[-1].block.heading
        if new_section and not all(u.block.is_heading for u in current):
            yield current
            current = []
        elif current and not _fits(current, unit, settings.max_tokens):
            yield current
            current = _overlap(current, settings.overlap_tokens)
            while current and not _fits(current, unit, settings.max_tokens):
                current.pop(0)
        current.append(unit)
    if current:
        yield current


def _fits(units: list[_Unit], unit: _Unit, budget: int) -> bool:
    tokens = sum(u.tokens for u in units) + unit.tokens
    return tokens <= budget and unit.end - units[0].start <= budget * _CHARACTERS_PER_TOKEN


def _overlap(units: list[_Unit], budget: int) -> list[_Unit]:
    """Returns the last sentences that fit the overlap, but never the whole chunk.

    The overlap is limited in characters too: some, such as soft hyphens, are not tokens and would be repeated in every
    chunk.
    """
    characters = budget * _CHARACTERS_PER_TOKEN
    kept: list[_Unit] = []
    for unit in reversed(units[1:]):
        budget -= unit.tokens
        if budget < 0 or units[-1].end - unit.start > characters:
            break
        kept.insert(0, unit)
    return kept


def _units(document: Document, tokenizer: WordTokenizer, budget: int) -> Iterator[_Unit]:
    for block in document.blocks:
        for spans in _sentence_groups(_spans(document.text, block, budget, tokenizer)):
            for start, end, words in _sentences_with_words(document.text, spans, tokenizer):
                yield from _cut(document.text, start, end, words, budget, tokenizer, block)


def _spans(text: str, block: Block, budget: int, tokenizer: WordTokenizer) -> Iterator[tuple[int, int]]:
    """Yields the sentences of a block. A table row is one, so that cells keep their names; a longer row, its cells."""
    start, end = block.start, block.start + len(block.text)
    if not block.row:
        yield from sentence_spans(text, start, end)
    elif len(block.text) <= budget or (
        len(block.text) <= budget * _CHARACTERS_PER_TOKEN and tokenizer.count_tokens(block.text) <= budget
    ):
        yield start, end
    else:
        while start < end:
            at = text.find(CELLS, start, end)
            stop = at + len(CELLS) if at >= 0 else end
            yield start, stop
            start = stop


def _sentence_groups(spans: Iterator[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Yields sentences in groups of at most `_READ_TOGETHER` characters; a longer sentence is its own group."""
    group: list[tuple[int, int]] = []
    for span in spans:
        if group and span[1] - group[0][0] > _READ_TOGETHER:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _sentences_with_words(
    text: str, spans: list[tuple[int, int]], tokenizer: WordTokenizer
) -> Iterator[tuple[int, int, Iterable[tuple[int, int, int]]]]:
    """Yields sentences with their words, whose offsets are relative to the sentence."""
    if len(spans) == 1:
        [(start, end)] = spans
        yield start, end, _words_of_one(text, start, end, tokenizer)
        return
    words = tokenizer.word_spans([text[start:end] for start, end in spans])
    for (start, end), counted in zip(spans, words, strict=True):
        yield start, end, counted


def _words_of_one(text: str, start: int, end: int, tokenizer: WordTokenizer) -> Iterator[tuple[int, int, int]]:
    at = start
    while at < end:
        stop = _stop(text, at, end)
        for left, right, tokens in tokenizer.word_spans([text[at:stop]])[0]:
            yield at - start + left, at - start + right, tokens
        at = stop


def _stop(text: str, start: int, end: int) -> int:
    """Returns where a part of a long sentence ends: between two words if there is a boundary nearby."""
    stop = start + _READ_TOGETHER
    if stop >= end:
        return end
    while stop > start + _READ_TOGETHER - _LONGEST_WORD and text[stop - 1].isalnum() and text[stop].isalnum():
        stop -= 1
    return stop


def _cut(
    text: str,
    start: int,
    end: int,
    words: Iterable[tuple[int, int, int]],
    budget: int,
    tokenizer: WordTokenizer,
    block: Block,
) -> Iterator[_Unit]:
    """Cuts a sentence between words where the budget is full; text without tokens is cut by length."""
    limit = budget * _CHARACTERS_PER_TOKEN
    cuts, tokens, begin = [start], 0, start
    for left, right, count in words:
        if tokens and (tokens + count > budget or start + right - begin > limit):
            begin, tokens = start + left, 0
            cuts.append(begin)
        tokens += count
    cuts.append(end)
    if len(cuts) == 2 and end - start <= limit:
        yield _Unit(start, end, tokens, block)
        return
    for left, right in pairwise(cuts):
        for at in range(left, right, limit):
            stop = min(at + limit, right)
            yield _Unit(at, stop, tokenizer.count_tokens(text[at:stop]), block)


class _Headings:
    """Shortens title and heading to the context that the embedder's window has for them."""

    def __init__(self, tokenizer: WordTokenizer, title: str) -> None:
        self._tokenizer = tokenizer
        self._title = self._shorten(title, CONTEXT_TOKENS // 2)
        self._known: dict[tuple[str, ...], str] = {}

    def fit(self, path: tuple[str, ...]) -> tuple[str, str]:
        if path not in self._known:
            shown = path[1:] if path and path[0] == self._title else path
            self._known[path] = self._shorten(" > ".join(shown), CONTEXT_TOKENS // 2)
        return self._title, self._known[path]

    def _shorten(self, text: str, budget: int) -> str:
        words = self._tokenizer.word_spans([text])[0]
        end = 0
        for _, right, tokens in words:
            budget -= tokens
            if budget < 0:
                return text[:end]
            end = right
        return text
