"""What Prometheus has seen in an alert's test: samples a minute apart, in a notation that promtool's is made from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from monitoring.rule import Case, Sample

_RUN = re.compile(r"(?P<first>_|stale|-?[\d.]+)(?:(?P<step>[+-][\d.]+))?(?:x(?P<times>\d+))?")


def seen(after: str, *samples: tuple[str, str]) -> Case:
    """Returns the case of `samples`, each a series with labels and its values, one a minute (`0+5x20`).

    promtool's tests have a sample each 30 seconds: every second one is left out.
    """
    return Case(after, tuple(Sample(series, " _ ".join(_values(values))) for series, values in samples))


def _values(notation: str) -> Iterator[str]:
    """Returns each value of promtool's notation, in which `axN` is a and N more of it."""
    for run in notation.split():
        if not (match := _RUN.fullmatch(run)):
            raise ValueError(f"{run} is no run of values")
        first, times = match["first"], int(match["times"] or 0)
        if first == "_":  # promtool takes the number as it is here
            yield from ["_"] * max(times, 1)
        elif first == "stale":
            yield first
        else:
            yield from (f"{Decimal(first) + i * Decimal(match['step'] or 0):f}" for i in range(times + 1))
