"""How many requests a replica may have, so that sufficiently few of them wait too long for a slot.

A replica is modelled as a queue with as many servers as it has slots, at which requests arrive independently of
each other, with exponential service times (M/M/c). Erlang's C formula gives how many of them wait, and how long:
Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory, 4th edition, section 2.3.
"""

from __future__ import annotations

import math


def mean_ongoing(slots: int, service_s: float, patience_s: float, late: float) -> float:
    """Returns the highest mean number of running and waiting requests with which a share `late` waits too long.

    `service_s` is the mean time in seconds that a request holds its slot, and `patience_s`, above 0, how long one may
    wait. The number is never above `slots`, since further requests would only wait.
    """
    low, high = 0.0, float(slots)
    for _ in range(40):
        busy = (low + high) / 2
        if _late_share(slots, busy, patience_s / service_s) <= late:
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
