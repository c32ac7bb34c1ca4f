"""Sentence boundaries and their positions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.retrieval.text.sentences import sentence_spans


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("It costs 1.5 s, e.g. here. Next.", ["It costs 1.5 s, e.g. here.", "Next."]),
        ('He said "no." Then left.', ['He said "no."', "Then left."]),
        ("A line\nthat goes on. End", ["A line\nthat goes on.", "End"]),
        ("Heading\n\nParagraph", ["Heading", "Paragraph"]),
        ("- one\n- two\n1. three", ["- one", "- two", "1. three"]),
        ("これは文です。次の文。", ["これは文です。", "次の文。"]),
        ("See Fig. 2 for it. J. Smith agrees.", ["See Fig. 2 for it.", "J. Smith agrees."]),
        (" \n ", []),
    ],
)
def test_sentence_boundaries_are_found(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentence_spans(text)] == expected


@given(st.text(alphabet="ab .!?\n-1)。\"'"))
def test_only_white_space_is_dropped_between_sentences(text: str) -> None:
    end = 0
    for start, stop in sentence_spans(text):
        assert not text[end:start].strip()
        assert start < stop
        end = stop
    assert not text[end:].strip()
