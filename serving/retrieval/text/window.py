"""The part of a document's text that is shown around a passage."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from serving.retrieval.types import Document

CHARACTERS = 20_000
"""Most characters that are shown at once."""


@dataclass(frozen=True, slots=True)
class TextWindow:
    """`text` is `document.text[start:end]` of a document with `length` characters; `page` is that of the passage."""

    text: str
    start: int
    end: int
    length: int
    title: str
    page: int | None


def window(document: Document, start: int, end: int, *, most: int = CHARACTERS) -> TextWindow:
    """Returns at most `most` characters around the passage from `start` to `end`, as much before it as after.

    Of a longer passage it is the beginning; positions behind the text are its end.
    """
    length = len(document.text)
    start = min(start, length)
    end = min(max(start, end), start + most, length)
    first = max(0, min(start - (most - (end - start)) // 2, length - most))
    last = min(length, first + most)
    at = bisect_right(document.blocks, start, key=lambda block: block.start) - 1
    page = document.blocks[at].page if at >= 0 else None
    return TextWindow(document.text[first:last], first, last, length, document.title, page)
