"""Intervals, win rates and agreement, compared with published and exact values."""

from __future__ import annotations

import pytest

from serving.hub.evaluation.statistics import kappa, wilson, win_rate


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [(39, 60, 0.524, 0.758), (115, 200, 0.506, 0.641), (0, 10, 0, 0.278), (10, 10, 0.722, 1), (0, 0, 0, 1)],
)
def test_intervals_match_wilsons_formula(successes, total, low, high):
    found = wilson(successes, total)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


def test_wilsons_interval_covers_the_truth_in_about_95_of_100_samples():
    """Exactly, over all possible counts of 60 observations."""
    from math import comb

    for truth in (0.3, 0.5, 0.8):
        covered = sum(
            comb(60, k) * truth**k * (1 - truth) ** (60 - k)
            for k in range(61)
            if wilson(k, 60).low <= truth <= wilson(k, 60).high
        )
        assert covered == pytest.approx(0.95, abs=0.02)


def test_more_successes_than_observations_are_an_error():
    with pytest.raises(ValueError, match="from 0 to total"):
        wilson(3, 2)


def test_a_tie_is_half_a_win():
    assert win_rate(0, 40, 0).value == 0.5
    assert win_rate(10, 20, 10) == wilson(20, 40)
    assert win_rate(0, 0, 0).document == {"value": None, "low": 0.0, "high": 1.0, "total": 0}


def test_kappa_matches_cohens_example():
    """The example of Cohen's table: 20 and 15 agreements of 50, with marginals of 25 and 30."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    assert kappa(pairs) == pytest.approx(0.4)
    assert kappa([("a", "a"), ("b", "b")]) == 1
    assert kappa([("a", "b"), ("b", "a")]) == -1


def test_kappa_is_undefined_without_different_labels():
    assert kappa([]) is None
    assert kappa([("a", "a")] * 3) is None
