"""The always-valid tests of a canary: their values, how often they are wrong, and how soon they are right."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from serving.hub.evaluation.sequential import ACT, Pairs, harm, mean, no_worse


@functools.cache
def acting(pairs):
    """From each number of unlike pairs, the fewest bad ones of the canary with which a release is rolled back."""
    least, found = 0, np.empty(pairs + 1)
    for n in range(pairs + 1):
        while least <= n and harm(Pairs(least, n - least)) < ACT:
            least += 1
        found[n] = least if least <= n else math.inf
    return found


def rollbacks(canary, base, runs, pairs, seed):
    """From simulated releases with these shares of bad outcomes, after how many pairs each is rolled back."""
    random = np.random.default_rng(seed)
    of_canary, of_base = (
        random.random((runs, pairs), np.float32) < canary,
        random.random((runs, pairs), np.float32) < base,
    )
    only_canary = np.cumsum(of_canary & ~of_base, axis=1)
    unlike = np.cumsum(of_canary ^ of_base, axis=1)
    acted = only_canary >= acting(int(unlike.max()))[unlike]
    return np.where(acted.any(axis=1), acted.argmax(axis=1) + 1, math.inf)


@pytest.mark.parametrize(("canary", "base"), [(0, 0), (1, 0), (3, 1), (10, 30), (400, 350)])
def test_the_evidence_of_harm_is_the_likelihood_ratio_of_the_mixture(canary, base):
    """By the midpoint rule over p, with twice the density on half of the range."""
    p = 0.5 + (np.arange(200_000) + 0.5) / 400_000
    ratio = np.exp(canary * np.log(2 * p) + base * np.log(2 * (1 - p)))
    assert harm(Pairs(canary, base)) == pytest.approx(ratio.mean(), rel=1e-6)


def test_evidence_beyond_a_doubles_range_is_infinite():
    assert harm(Pairs(5000, 0)) == math.inf
    assert harm(Pairs(0, 5000)) < 1


@pytest.mark.parametrize("bad", [0.02, 0.2])
def test_equal_arms_are_rolled_back_in_at_most_one_of_a_hundred_runs(bad):
    assert np.isfinite(rollbacks(bad, bad, 1000, 3000, seed=0)).mean() <= 0.01


def test_the_probability_of_a_false_rollback_is_below_one_percent():
    """Exactly, after each of 1,200 unlike pairs: simulated shares scatter around it."""
    undecided, wrong = np.ones(1), 0.0  # by the number of pairs in which the canary's outcome is the bad one
    for n in range(1, 1201):
        undecided = (np.append(undecided, 0) + np.insert(undecided, 0, 0)) / 2
        acted = np.arange(n + 1) >= acting(1200)[n]
        wrong += undecided[acted].sum()
        undecided[acted] = 0
    assert 0.005 < wrong < 0.01


@pytest.mark.parametrize(
    ("canary", "base", "median", "most"),
    [(0.5, 0.02, 19, 30), (0.2, 0.02, 56, 94), (0.1, 0.02, 153, 298), (0.4, 0.2, 106, 216)],
)
def test_bad_canaries_are_rolled_back_after_as_many_requests_as_measured_before(canary, base, median, most):
    found = rollbacks(canary, base, 1000, 600, seed=2)
    assert np.median(found) == pytest.approx(median, rel=0.2)
    assert np.quantile(found, 0.9) == pytest.approx(most, rel=0.2)


def test_a_canary_whose_half_is_bad_is_rolled_back_within_sixty_requests():
    assert np.quantile(rollbacks(0.5, 0.02, 1000, 100, seed=3), 0.999) <= 60


def test_evidence_for_no_harm_grows_with_pairs_that_are_alike():
    assert no_worse(Pairs()) == 1
    assert no_worse(Pairs(alike=100)) < ACT < no_worse(Pairs(alike=140))
    assert no_worse(Pairs(canary=30, alike=110)) < 1
    assert no_worse(Pairs(alike=10**6)) > ACT  # without an overflow


def test_a_canary_that_is_worse_by_the_margin_is_found_no_worse_in_at_most_one_of_a_hundred_runs():
    random = np.random.default_rng(4)
    runs, wrong = 200, 0
    for _ in range(runs):
        canary, base = random.random(3000) < 0.07, random.random(3000) < 0.02
        counts = [np.cumsum(which) for which in (canary & ~base, base & ~canary, canary == base)]
        looks = range(100, 3000, 100)
        wrong += any(no_worse(Pairs(*(int(count[n]) for count in counts))) >= ACT for n in looks)
    assert wrong / runs <= 0.01


def test_evidence_of_several_kinds_is_their_mean():
    assert mean([1.0, 199.0]) == 100


def test_pairs_are_counted_by_their_outcomes():
    pairs = Pairs()
    for canary, base in ((True, False), (False, True), (True, True), (False, False)):
        pairs = pairs.plus(canary_bad=canary, base_bad=base)
    assert pairs == Pairs(1, 1, 2)
    assert pairs.total == 4
