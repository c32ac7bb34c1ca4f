"""Splits text into sentences with their positions."""

from __future__ import annotations

import re
from collections.abc import Iterator

_GAP = re.compile(r"\s+|(?<=[。！？])")
_ENDS = ".!?…"
_WIDE_ENDS = "。！？"
_CLOSING = "\"'”’)]*_`"
_ITEM = re.compile(r"[-*+•|#>]|\d+[.)]\s")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|cf|vs|etc|al|approx|fig|eq|no|vol|pp?|sec|ch|ed|dr|mr|mrs|ms|prof|st|jr|inc|ltd|co)"
    r"\.$",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"\d{1,9}\.")


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yields `(start, end)` of each sentence of `text[start:end]`, without surrounding white space.

    A sentence ends at closing punctuation before white space (but not after an initial or an abbreviation), at a blank
    line, and before a list item or table row.
    """
    end = len(text) if end is None else end
    begin = start
    while begin < end and text[begin].isspace():
        begin += 1
    for stop, cut in _boundaries(text, start, end):
        if text.find("\n", stop, cut) < 0 and _goes_on(text, begin, stop):
            continue
        yield from _stripped(text, begin, cut)
        begin = cut
    yield from _stripped(text, begin, end)


def _boundaries(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yields where sentences can end: white space, with the closing quotes and brackets before it.

    It takes one pass: each gap between words, with the text before and after it, is examined once.
    """
    seen = start
    for gap in _GAP.finditer(text, start, end):
        left, right = gap.span()
        stop = left
        while stop > seen and text[stop - 1] in _CLOSING:
            stop -= 1
        before = text[stop - 1 : stop]
        seen = right
        if left == right or (left and text[left - 1] in _WIDE_ENDS):
            yield left, right
        elif before and before in _ENDS:
            yield stop, right
        elif (lines := text.count("\n", left, right)) > 1 or (lines and _ITEM.match(text, right, end)):
            yield left, right


def _goes_on(text: str, start: int, end: int) -> bool:
    """Returns whether a full stop ends an abbreviation or a list number rather than a sentence."""
    return bool(_ABBREVIATION.search(text[max(start, end - 12) : end]) or _ORDINAL.fullmatch(text, start, end))


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if stripped := piece.strip():
        yield start + left, start + left + len(stripped)
