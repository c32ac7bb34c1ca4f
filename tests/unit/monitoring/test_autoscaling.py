"""How many requests a replica should have follows from what may wait, and for how long."""

from __future__ import annotations

import heapq
import random

import pytest

from monitoring.autoscaling import autoscaling_target, main
from monitoring.objectives import OBJECTIVES
from serving.core.erlang import waiting_share

TTFT = next(o for o in OBJECTIVES if o.name == "time_to_first_token")
END_TO_END = next(o for o in OBJECTIVES if o.name == "end_to_end")


@pytest.mark.parametrize(
    ("slots", "busy", "share"),
    [(1, 0.3, 0.3), (2, 1, 1 / 3), (3, 2, 4 / 9), (4, 0, 0)],
)
def test_the_share_that_waits_is_erlangs(slots, busy, share):
    assert waiting_share(slots, busy) == pytest.approx(share)


@pytest.mark.parametrize(("slots", "service_s"), [(1, 2.0), (4, 6.0), (16, 10.0)])
def test_a_queue_at_the_target_meets_the_objective_and_a_busier_one_does_not(slots, service_s):
    target = autoscaling_target(TTFT, slots=slots, service_s=service_s, unloaded_s=0.5)
    assert TTFT.threshold_s is not None
    late, ongoing = _simulated(slots, service_s, TTFT.threshold_s - 0.5, target)
    assert late == pytest.approx(TTFT.budget, rel=0.25)
    assert ongoing == pytest.approx(target, rel=0.1)


def _simulated(slots, service_s, patience_s, target):
    """The share of late requests, and the mean of those ongoing, of a queue whose load makes `target` ongoing."""
    low, high = 0.0, float(slots)
    for _ in range(40):  # the load that has that many ongoing
        busy = (low + high) / 2
        low, high = (busy, high) if busy + waiting_share(slots, busy) * busy / (slots - busy) < target else (low, busy)
    chance = random.Random(1)
    free = [0.0] * slots
    now, late, spent, number = 0.0, 0, 0.0, 60_000
    for _ in range(number):
        now += chance.expovariate(low / service_s)
        begin = max(now, heapq.heappop(free))
        end = begin + chance.expovariate(1 / service_s)
        heapq.heappush(free, end)
        late += begin - now > patience_s
        spent += end - now
    return late / number, spent / now


def test_more_patience_allows_more_requests_and_never_more_than_slots():
    targets = [autoscaling_target(TTFT, slots=8, service_s=5, unloaded_s=u) for u in (2.4, 1.5, 0.1)]
    assert targets == sorted(targets)
    assert 0 < targets[0] < targets[2] <= 8
    assert autoscaling_target(END_TO_END, slots=4, service_s=0.1, unloaded_s=0.1) == 4


def test_unreachable_objectives_are_errors(capsys):
    common = ["--slots", "4", "--service-seconds", "6", "--unloaded-seconds"]
    assert main(["time_to_first_token", *common, "3"]) == 1
    assert "a faster engine does" in capsys.readouterr().err
    assert main(["time_to_first_token", *common, "0.4"]) == 0
    assert capsys.readouterr().out.startswith("target_ongoing_requests: ")


def test_only_objectives_that_waiting_harms_have_a_target():
    for objective in OBJECTIVES:
        if objective not in (TTFT, END_TO_END):
            with pytest.raises(ValueError, match="does not depend"):
                autoscaling_target(objective, slots=4, service_s=5, unloaded_s=0.5)


@pytest.mark.parametrize(("slots", "service_s", "unloaded_s"), [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_impossible_figures_are_refused(slots, service_s, unloaded_s):
    with pytest.raises(ValueError, match="must be above 0"):
        autoscaling_target(TTFT, slots=slots, service_s=service_s, unloaded_s=unloaded_s)
