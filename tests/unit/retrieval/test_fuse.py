"""Fusion keeps scores within 0..1 and comparable between queries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.retrieval.fuse import FOLLOW_UP_WEIGHT, fuse, fuse_follow_up
from serving.retrieval.types import Hit

KEYS = st.sampled_from("abcdef")


@given(st.dictionaries(KEYS, st.floats(0, 100)), st.dictionaries(KEYS, st.floats(-1.001, 1.001)))
def test_scores_are_within_bounds(bm25: dict[str, float], cosine: dict[str, float]) -> None:
    scores = fuse(bm25, cosine)
    assert scores.keys() == bm25.keys() | cosine.keys()
    assert all(0 <= score <= 1 for score in scores.values())


def test_both_searches_contribute_to_the_score() -> None:
    scores = fuse({"a": 10, "b": 5}, {"a": 0.5, "b": 0.5, "c": 0.5})
    assert scores["a"] > scores["b"] > scores["c"]
    scores = fuse({"a": 10, "b": 10}, {"a": 0.5, "b": 0.6})
    assert scores["b"] > scores["a"]


def test_a_query_without_similar_chunks_scores_low() -> None:
    assert max(fuse({"a": 30.0}, {"a": 0.1}).values()) <= 0.1


def hit(id: str, score: float) -> Hit:
    return Hit(id, "f", "f.md", "", "", id, 0, 1, None, score, score, 0.0)


def test_a_follow_up_is_searched_alone_and_with_the_previous_message() -> None:
    alone, joined = [hit("new", 0.9), hit("both", 0.6), hit("rest", 0.1)], [hit("old", 0.8), hit("both", 0.7)]
    fused = fuse_follow_up(alone, joined)
    assert [h.chunk_id for h in fused] == ["new", "both", "old", "rest"]
    scores = {h.chunk_id: h.score for h in fused}
    assert scores["both"] == (1 - FOLLOW_UP_WEIGHT) * 0.6 + FOLLOW_UP_WEIGHT * 0.7
    assert scores["old"] == (1 - FOLLOW_UP_WEIGHT) * 0.1 + FOLLOW_UP_WEIGHT * 0.8  # as if it were the last alone
    assert fuse_follow_up([], []) == []
