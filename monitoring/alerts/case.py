"""Test cases of alerts: samples a minute apart, in promtool's notation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from monitoring.rule import Case, Sample

_RUN = re.compile(r"(?P<first>_|stale|-?[\d.]+)(?:(?P<step>[+-][\d.]+))?(?:x(?P<times>\d+))?")


def alert_case(after: str, *samples: tuple[str, str]) -> Case:
    """Returns a case of `samples`, each a series with its values, one per minute, such as `0+5x20`.

    promtool's tests have a sample every 30 seconds: every second one is left empty.
    """
    return Case(after, tuple(Sample(series, " _ ".join(_values(values))) for series, values in samples))


def _values(notation: str) -> Iterator[str]:
    """Yields each value of promtool's notation, in which `axN` is `a` and N repetitions."""
    for run in notation.split():
        if not (match := _RUN.fullmatch(run)):
            raise ValueError(f"{run} is not in promtool's notation")
        first, times = match["first"], int(match["times"] or 0)
        if first == "_":  # `_xN` is N empty samples, not N + 1
            yield from ["_"] * max(times, 1)
        elif first == "stale":
            yield first
        else:
            yield from (f"{Decimal(first) + i * Decimal(match['step'] or 0):f}" for i in range(times + 1))
