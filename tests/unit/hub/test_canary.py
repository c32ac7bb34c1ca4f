"""How outcomes of a canary and its base are paired, and what they decide."""

from __future__ import annotations

import random

import orjson
import pytest

from serving.hub.canary import MAX_WAITING, CanaryOutcome, begun, counted, document_of, evidence, tallies_of, verdict
from serving.hub.evaluation.sequential import Pairs

GUARDS = ("errors", "ratings")


def outcomes(text, kind="requests"):
    """Each letter is one: `C` a bad one of the canary, `c` a good one, `B` and `b` of the base."""
    bad = "ratings" if kind == "ratings" else "errors"
    return [CanaryOutcome(kind, letter in "cC", bad if letter.isupper() else None, n) for n, letter in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("bC", Pairs(canary=1)),
        ("Cb", Pairs(canary=1)),
        ("cB", Pairs(base=1)),
        ("CB", Pairs(alike=1)),
        ("BbC", Pairs(canary=1)),  # with the newest of the base
        ("BcC", Pairs(base=1)),  # an outcome is used once
        ("BcCb", Pairs(base=1, canary=1)),
        ("bBcc", Pairs(base=1)),  # what is older than a used one is not used
        ("CcbB", Pairs(canary=1, base=1)),  # the longest waiting first
    ],
)
def test_outcomes_are_paired_in_the_order_of_their_times(text, pairs):
    assert counted(begun(GUARDS), outcomes(text))["requests"].pairs == pairs


def test_answers_and_ratings_are_paired_by_themselves():
    found = counted(begun(GUARDS), [*outcomes("bC"), *outcomes("C", "ratings")])
    assert (found["requests"].pairs, found["ratings"].pairs) == (Pairs(canary=1), Pairs())
    assert "ratings" not in counted(begun(("errors",)), outcomes("bC", "ratings"))


def test_only_so_many_outcomes_wait_for_one_of_the_other_side():
    tally = counted(begun(GUARDS), outcomes("C" + "c" * MAX_WAITING + "b" * (MAX_WAITING + 1)))["requests"]
    assert (tally.canary.seen, tally.pairs) == (MAX_WAITING + 1, Pairs(alike=MAX_WAITING))


def test_counts_by_guard_are_shown():
    tally = counted(begun(GUARDS), outcomes("bCcBb"))["requests"]
    assert (tally.canary.seen, tally.canary.bad) == (2, {"errors": 1})
    assert (tally.base.seen, tally.base.bad) == (3, {"errors": 1})


def test_counts_survive_being_stored_between_any_two_outcomes():
    random.seed(1)
    text = "".join(random.choices("cCbB", k=300))
    stored = begun(GUARDS)
    for outcome in outcomes(text):
        stored = tallies_of(orjson.loads(orjson.dumps(document_of(counted(stored, [outcome])))))
    assert stored == counted(begun(GUARDS), outcomes(text))


def test_a_bad_canary_is_harmful_and_a_good_one_no_worse():
    assert verdict(begun(GUARDS)) == "undecided"
    assert verdict(counted(begun(GUARDS), outcomes("bC" * 12))) == "harmful"
    assert verdict(counted(begun(("errors",)), outcomes("bbbbc" * 150))) == "no_worse"
    assert verdict(counted(begun(GUARDS), outcomes("bbbbc" * 50))) == "undecided"


def test_bad_ratings_alone_are_enough():
    fine = counted(begun(GUARDS), outcomes("bc" * 20))
    assert verdict(counted(fine, outcomes("bC" * 12, "ratings"))) == "harmful"


def test_few_bad_ratings_are_not_outweighed_by_many_good_answers():
    fine = counted(begun(GUARDS), outcomes("bc" * 400))
    assert verdict(fine) == "no_worse"
    assert verdict(counted(fine, outcomes("bC" * 3, "ratings"))) == "undecided"
    assert verdict(counted(fine, outcomes("bCBc" * 3, "ratings"))) == "no_worse"


def test_evidence_of_several_kinds_is_shared_from_the_beginning():
    """A kind without outcomes counts too: else its first outcome would change the evidence of the others."""
    text = outcomes("bC" * 9)
    assert evidence(counted(begun(GUARDS), text))["harm"] < 100 < evidence(counted(begun(("errors",)), text))["harm"]


def test_a_canary_as_good_as_its_base_is_rolled_back_in_at_most_one_of_a_hundred_releases():
    """A thousand releases of half of the requests, some of them rated, with times at which both sides fail more."""
    draw, rolled_back = random.Random(7), 0
    for _ in range(1000):
        tallies = begun(GUARDS)
        for at in range(400):
            canary = draw.random() < 0.5
            failing = 0.8 if at % 100 < 15 else 0.3
            answer = CanaryOutcome("requests", canary, "errors" if draw.random() < failing else None, at)
            rated = CanaryOutcome("ratings", canary, "ratings" if draw.random() < 0.2 else None, at)
            tallies = counted(tallies, [answer, rated] if draw.random() < 0.1 else [answer])
            # Evidence of harm needs more pairs in which the canary alone was bad.
            if any(each.pairs.canary > each.pairs.base for each in tallies.values()) and verdict(tallies) == "harmful":
                rolled_back += 1
                break
    assert 1 <= rolled_back <= 10
