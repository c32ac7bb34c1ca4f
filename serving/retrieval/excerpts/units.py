"""The parts of a passage that can be quoted by themselves: sentences, rows of tables and blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serving.retrieval.text.sentences import sentence_spans
from serving.retrieval.types import CELLS, Hit

_BLANK = re.compile(r"\n[^\S\n]*\n")
_SENTENCE_END = re.compile(r"[.!?:…。！？][\"'”’)]*\Z")
_CODE = re.compile(r"^[^\S\n]|[{}=;\\$<>]|(?:^|\s)--?[a-z]|[a-z._]/[a-z._]|\A[a-z]+ [a-z-]+\Z", re.MULTILINE)
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\s\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")

LIST = 5
"""Least number of entries of a list of links."""

ENTRY_WORDS = 12
"""Most words of an entry of a list of links."""

SHARE = 0.8
"""Least share of a passage's units that are entries, if it is a list of links."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Characters `start` to `end` (exclusive) of a passage: a sentence, unless it is code or a row of a table."""

    start: int
    end: int
    code: bool = False
    row: bool = False

    def text(self, hit: Hit) -> str:
        return hit.text[self.start : self.end]


def blocks(hit: Hit, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yields the characters of each block of a passage between `start` and `end`, without the headings above it."""
    headings = {hit.title, *hit.heading.split(" > ")}
    begin, end = start, len(hit.text) if end is None else end
    stops = [(gap.start(), gap.end()) for gap in _BLANK.finditer(hit.text, start, end)]
    for stop, after in [*stops, (end, end)]:
        piece = hit.text[begin:stop]
        if piece.strip() and piece.strip() not in headings:
            left = begin + len(piece) - len(piece.lstrip("\n"))
            yield left, begin + len(piece.rstrip())
        begin = after


def units(hit: Hit) -> list[Unit]:
    """Returns the sentences, rows and blocks of code of a passage, in order."""
    found: list[Unit] = []
    for start, end in blocks(hit):
        block = hit.text[start:end]
        if CELLS in block:
            found.append(Unit(start, end, row=True))
        elif is_code(block):
            found.append(Unit(start, end, code=True))
        else:
            found += [Unit(*span) for span in sentence_spans(hit.text, start, end)]
    return found


def is_code(block: str) -> bool:
    """Returns whether a block of plain text, which has no fences, counts as code.

    Code does not end like a sentence, and is indented or contains characters of code.
    """
    return not _SENTENCE_END.search(block) and "```" not in block and bool(_CODE.search(block)) and CELLS not in block


def count_words(text: str) -> int:
    """Returns the number of words, and in Chinese, Japanese and Korean that of characters."""
    return sum(1 for _ in _WORD.finditer(text))


def first_words(text: str, most: int) -> int:
    """Returns where the first `most` words of a text end."""
    end = 0
    for place, word in enumerate(_WORD.finditer(text)):
        if place == most:
            break
        end = word.end()
    return end


def lists_links(hit: Hit, others: Sequence[Hit]) -> bool:
    """Returns whether a passage is a list of links, as of an index page: short entries that name pages of `others`.

    Links are no longer visible in a document's text, and a list of short entries alone could be one of ingredients.
    """
    found = units(hit)
    entries = {unit.text(hit).strip() for unit in found if not unit.row and not unit.code and _is_entry(unit.text(hit))}
    named = {part for other in others if other.file_id != hit.file_id for part in (other.title, other.heading) if part}
    return len(found) >= LIST and len(entries) >= SHARE * len(found) and bool(entries & named)


def _is_entry(text: str) -> bool:
    return not _SENTENCE_END.search(text) and count_words(text) <= ENTRY_WORDS
