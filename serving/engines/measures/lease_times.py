"""How long requests hold leases of one replica: what tells a slow replica from the others of its model."""

from __future__ import annotations

from collections import deque
from statistics import fmean

from serving.telemetry import metrics

FEW = 20
"""Leases whose mean is published: a single long answer says nothing about its replica."""


class LeaseTimes:
    """Publishes the mean time of the last `FEW` leases of a replica, once there were so many.

    The series disappears with the replica's process.
    """

    def __init__(self, model: str, replica: str) -> None:
        self._labels = model, replica
        self._times: deque[float] = deque(maxlen=FEW)

    def ended(self, seconds: float) -> None:
        """Counts a lease that lasted so long, from its grant to its end."""
        self._times.append(seconds)
        if len(self._times) == FEW:
            metrics.engine_lease_seconds.labels(*self._labels).set(fmean(self._times))
