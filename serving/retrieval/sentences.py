"""Splits text into sentences with their positions."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BOUNDARY = re.compile(r"""(?<=[.!?…])["'”’)\]*_`]*\s+|(?<=[。！？])\s*|\s*\n(?=\s*(?:\n|[-*+•|#>]|\d+[.)]\s))\s*""")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:[A-Za-z]|e\.g|i\.e|cf|vs|etc|al|approx|fig|eq|no|vol|pp?|sec|ch|ed|dr|mr|mrs|ms|prof|st|jr|inc|ltd|co)"
    r"\.$",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"\s*\d+\.")


def sentence_spans(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Yields `(start, end)` of each sentence of `text[start:end]`, without the white space around it.

    A sentence ends at closing punctuation before white space (but not after an initial or an
    abbreviation), at a blank line, and before a list item or table row.
    """
    end = len(text) if end is None else end
    begin = start
    for match in _BOUNDARY.finditer(text, start, end):
        cut = match.end()
        if "\n" not in match.group() and _goes_on(text[begin : match.start()]):
            continue
        yield from _stripped(text, begin, cut)
        begin = cut
    yield from _stripped(text, begin, end)


def _goes_on(text: str) -> bool:
    """Whether a full stop ends an abbreviation or a list's number rather than a sentence."""
    return bool(_ABBREVIATION.search(text[-12:]) or _ORDINAL.fullmatch(text))


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if stripped := piece.strip():
        yield start + left, start + left + len(stripped)
