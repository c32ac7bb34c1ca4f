"""The target of Serve's autoscaler, in requests per replica, with which an objective is met.

A replica is modelled as a queue with as many servers as it has slots, at which requests arrive independently of
each other, with exponential service times (M/M/c). Erlang's C formula gives how many of them wait, and how long:
Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory, 4th edition, section 2.3.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace

from monitoring.objective import Objective
from monitoring.objectives import OBJECTIVES

QUEUED = ("time_to_first_token", "end_to_end")
"""Objectives that include the wait for a slot; the others do not depend on the number of requests per replica."""


def autoscaling_target(objective: Objective, *, slots: int, service_s: float, unloaded_s: float) -> float:
    """Returns the `target_ongoing_requests` of a model: the highest average at which the objective is still met.

    `slots` is how many requests a replica decodes together, `service_s` the mean seconds that a request holds its
    slot while all slots are busy, and `unloaded_s` the objective's measure in seconds without any wait. The
    target is never above `slots`, since further requests would only wait.

    Raises `ValueError` when the objective does not depend on the target, or when no number of replicas meets it.
    """
    if objective.name not in QUEUED or objective.threshold_s is None:
        raise ValueError(f"{objective.name} does not depend on how many requests a replica has")
    if slots < 1 or service_s <= 0 or unloaded_s < 0:
        raise ValueError("slots and the service time must be above 0, and the unloaded time at least 0")
    patience_s = objective.threshold_s - unloaded_s
    if patience_s <= 0:
        raise ValueError(
            f"{objective.name} allows {objective.threshold_s:g} s, but takes {unloaded_s:g} s without any wait: "
            "more replicas do not help, but a faster engine does"
        )
    low, high = 0.0, float(slots)
    for _ in range(40):
        busy = (low + high) / 2
        if _late_share(slots, busy, patience_s / service_s) <= objective.budget:
            low = busy
        else:
            high = busy
    return min(float(slots), low + _mean_queue_length(slots, low))


def waiting_share(slots: int, busy: float) -> float:
    """Returns the share of requests that wait (Erlang C) when on average `busy` slots are busy, fewer than `slots`."""
    blocked = 1.0
    for servers in range(1, slots + 1):  # Erlang's B formula, by its recursion
        blocked = busy * blocked / (servers + busy * blocked)
    return blocked / (1 - busy / slots * (1 - blocked))


def _late_share(slots: int, busy: float, patience: float) -> float:
    """Returns the share of requests that wait longer than `patience`, which is in mean service times."""
    return waiting_share(slots, busy) * math.exp(-(slots - busy) * patience)


def _mean_queue_length(slots: int, busy: float) -> float:
    """Returns how many requests wait on average."""
    return waiting_share(slots, busy) * busy / (slots - busy)


def main(arguments: list[str] | None = None) -> int:
    """Prints the target for an objective and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m monitoring.autoscaling",
        description="Computes the target_ongoing_requests of a model's autoscaling that meets an objective.",
    )
    parser.add_argument("objective", choices=QUEUED)
    parser.add_argument(
        "--within-seconds",
        type=float,
        help="what the model's own objectives allow; by default what models without any may take",
    )
    parser.add_argument("--slots", type=int, required=True, help="requests that a replica decodes together")
    parser.add_argument("--service-seconds", type=float, required=True, help="mean time that a request holds its slot")
    parser.add_argument("--unloaded-seconds", type=float, required=True, help="the measure without any wait")
    given = parser.parse_args(arguments)
    objective = next(one for one in OBJECTIVES if one.name == given.objective)
    if given.within_seconds is not None:
        objective = replace(objective, threshold_s=given.within_seconds)
    try:
        target = autoscaling_target(
            objective, slots=given.slots, service_s=given.service_seconds, unloaded_s=given.unloaded_seconds
        )
    except ValueError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    print(f"target_ongoing_requests: {target:.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
