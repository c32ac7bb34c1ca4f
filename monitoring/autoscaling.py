"""The target of Serve's autoscaler, in requests per replica, with which an objective is met."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from monitoring.objective import Objective
from monitoring.objectives import OBJECTIVES
from serving.core.erlang import mean_ongoing

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
    return mean_ongoing(slots, service_s, patience_s, objective.budget)


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
