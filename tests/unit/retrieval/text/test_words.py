"""Stems, numbers, names, negation and opposites."""

from __future__ import annotations

import pytest

from serving.retrieval.text.words import opposed, read, stem


@pytest.mark.parametrize(
    ("one", "other"),
    [("replica", "replicas"), ("stored", "stores"), ("running", "run"), ("queries", "query"), ("cached", "cache")],
)
def test_inflected_forms_share_a_stem(one: str, other: str) -> None:
    assert stem(one) == stem(other)


def test_numbers_are_compared_by_value() -> None:
    assert read("two of 1,000 are 50% or 1.50").numbers == {"2", "1000", "50", "1.5"}


def test_names_are_found() -> None:
    assert read("Then the SQLite file in data_dir and Ray use v1.2").names == {"sqlit", "data_dir", "ray", "v1.2"}


def test_a_negation_reaches_to_the_end_of_its_clause() -> None:
    assert read("It is not stored on disk, but kept in memory").negated == {"stor", "disk"}


@pytest.mark.parametrize(
    ("claim", "source", "expected"),
    [
        ("It is enabled", "It is disabled", True),
        ("It is supported", "It is unsupported", True),
        ("Lift increased", "Lift decreased", True),
        ("It fails if set", "It fails unless set", True),
        ("It starts and stops", "It stops", False),
        ("It is enabled", "It is enabled", False),
    ],
)
def test_opposed_sentences_are_recognised(claim: str, source: str, expected: bool) -> None:
    assert opposed(read(claim), read(source)) is expected
