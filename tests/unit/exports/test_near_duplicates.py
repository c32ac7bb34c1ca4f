from __future__ import annotations

import pytest

from serving.exports.near_duplicates import NearDuplicates, likeness, runs
from serving.store.errors import StoreUnavailable

LONG = "The council of the town meets on the first Monday of each month in the old hall by the river at seven"


@pytest.mark.parametrize(
    ("other", "new"),
    [
        (LONG.upper() + "!", False),
        (LONG.replace(" ", "  "), False),
        (LONG.replace("seven", "eight"), False),
        (LONG.replace("Monday", "Friday").replace("river", "church"), True),
        ("What is the capital of Norway? Oslo.", True),
        ("", True),
    ],
)
def test_texts_that_say_almost_the_same_are_found(other: str, new: bool) -> None:
    with NearDuplicates(0.85) as near:
        assert near.add(LONG)
        assert near.add(other) == new


def test_questions_of_one_form_are_not_the_same() -> None:
    with NearDuplicates(0.85) as near:
        for country in ("France", "Italy", "Spain", "Norway"):
            assert near.add(f"What is the capital of {country}? It is a well known city.")


def test_likeness_is_the_share_of_common_runs() -> None:
    assert likeness(runs("a b c d"), runs("a b c d")) == 1
    assert likeness(runs("a b c d"), runs("b c d e")) == pytest.approx(1 / 3)
    assert likeness(runs("short"), runs("Short.")) == 1


def test_a_full_disk_is_reported() -> None:
    with NearDuplicates(0.85) as near:
        near._connection.execute("PRAGMA max_page_count = 8")
        with pytest.raises(StoreUnavailable, match="temporary"):
            for i in range(10_000):
                near.add(f"{i} is a number that nobody has said before {i}")
