from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.exports.splits import parse, split_of
from serving.store.errors import InvalidValue


def test_shares_are_scaled_to_one() -> None:
    assert parse("train=9,test=1") == {"train": 0.9, "test": 0.1}


@pytest.mark.parametrize(
    "text",
    ["", "train", "train=", "train=0", "train=-1,test=2", "train=nan", "train=inf", "train=1,train=1", "=1", "Train=1",
     "../x=1", "train=1,", "manifest.json=1", ",".join(f"s{i}=1" for i in range(9))],
)  # fmt: skip
def test_invalid_splits_are_rejected(text: str) -> None:
    with pytest.raises(InvalidValue, match="split"):
        parse(text)


@given(st.text(), st.integers(), st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=8))
def test_a_session_is_always_in_the_same_split(session: str, seed: int, weights: list[float]) -> None:
    shares = parse(",".join(f"s{i}={weight}" for i, weight in enumerate(weights)))
    assert split_of(session, shares, seed) == split_of(session, dict(shares), seed) in shares


def test_sessions_are_shared_out_as_asked() -> None:
    shares = parse("train=0.8,validation=0.1,test=0.1")
    found = Counter(split_of(f"session-{i}", shares, seed=7) for i in range(10_000))
    # Six standard deviations of a binomial count.
    assert all(abs(found[name] - 10_000 * share) < 240 for name, share in shares.items())


def test_another_seed_splits_otherwise() -> None:
    shares = parse("train=0.5,test=0.5")
    sessions = [f"session-{i}" for i in range(64)]
    assert [split_of(s, shares, 0) for s in sessions] != [split_of(s, shares, 1) for s in sessions]


def test_growing_a_split_only_adds_sessions() -> None:
    small, large = parse("train=0.5,test=0.5"), parse("train=0.7,test=0.3")
    for i in range(1000):
        if split_of(f"session-{i}", small, 0) == "train":
            assert split_of(f"session-{i}", large, 0) == "train"
