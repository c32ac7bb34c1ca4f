"""Fusion keeps scores within 0..1 and comparable between queries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.retrieval.fuse import fuse

KEYS = st.sampled_from("abcdef")


@given(st.dictionaries(KEYS, st.floats(0, 100)), st.dictionaries(KEYS, st.floats(-1.001, 1.001)))
def test_bounds(bm25: dict[str, float], cosine: dict[str, float]) -> None:
    scores = fuse(bm25, cosine)
    assert scores.keys() == bm25.keys() | cosine.keys()
    assert all(0 <= score <= 1 for score in scores.values())


def test_both_legs_count() -> None:
    scores = fuse({"a": 10, "b": 5}, {"a": 0.5, "b": 0.5, "c": 0.5})
    assert scores["a"] > scores["b"] > scores["c"]
    scores = fuse({"a": 10, "b": 10}, {"a": 0.5, "b": 0.6})
    assert scores["b"] > scores["a"]


def test_a_query_that_nothing_resembles_scores_low() -> None:
    assert max(fuse({"a": 30.0}, {"a": 0.1}).values()) <= 0.1
