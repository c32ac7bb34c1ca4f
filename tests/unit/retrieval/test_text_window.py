"""What is shown of a document around a passage."""

from __future__ import annotations

import pytest

from serving.retrieval.text.window import window
from serving.retrieval.types import Block, Document

TEXT = "".join(chr(ord("a") + n % 26) for n in range(100))
DOCUMENT = Document("pdf", "Letters", TEXT, (Block(TEXT[2:40], 2, page=1), Block(TEXT[50:], 50, page=2)))


@pytest.mark.parametrize(
    ("start", "end", "shown", "page"),
    [
        (50, 54, (42, 62), 2),  # as much before as after
        (0, 4, (0, 20), None),  # at the beginning
        (3, 3, (0, 20), 1),
        (98, 100, (80, 100), 2),  # at the end
        (30, 90, (30, 50), 1),  # longer than what is shown
        (60, 10, (50, 70), 2),  # an end before the start is the start
        (500, 600, (80, 100), 2),  # behind the text
    ],
)
def test_a_window_shows_the_text_around_a_passage(
    start: int, end: int, shown: tuple[int, int], page: int | None
) -> None:
    found = window(DOCUMENT, start, end, most=20)
    assert (found.start, found.end) == shown
    assert found.text == TEXT[slice(*shown)]
    assert (found.length, found.title, found.page) == (100, "Letters", page)


def test_a_short_document_is_shown_whole() -> None:
    found = window(DOCUMENT, 50, 54)
    assert (found.text, found.start, found.end) == (TEXT, 0, 100)
