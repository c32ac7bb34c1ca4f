"""What a figure must show: a number exactly, or a number within bounds; and the comparison with what it shows."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.monitoring.accountant.ledger import Entry, Label, Labels, Ledger

EXACT = 1e-3
"""Of a number that is exact: a window of time is a millisecond longer than what lies between two scrapes."""


@dataclass(frozen=True, slots=True)
class Within:
    """A number between two others, both included: an estimate by a histogram's buckets, or a time."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"{self.least:g} to {self.most:g}"


Expected = float | Within
Truth = Mapping[Labels, Expected]


@dataclass
class Book:
    """One round of the script, from a scrape before it to a scrape after its end."""

    ledger: Ledger
    everything: Ledger
    """Also the rounds before, and what set up the stack."""
    log: Mapping[str, dict[str, Any]]
    """Lines of the log, by the id of the request; each is compared with the ledger before any of its times is used."""
    opened: float
    closed: float
    folder: Path
    instance: str
    """The exporter, as Prometheus calls it."""
    warnings: Sequence[tuple[str, str, str]] = ()
    """Tenant, measure and window of each warning that came with an answer."""

    @property
    def span_s(self) -> float:
        return self.closed - self.opened

    @property
    def window(self) -> str:
        """A range that ends at the last scrape, and whose first sample is that of the first."""
        return f"{round(self.span_s * 1000) + 1}ms"


def rates(
    book: Book, chosen: Ledger, amount: Callable[[Entry], Any] = lambda entry: 1, *, times: float = 1, **by: Label
) -> Truth:
    """Returns sums a second."""
    return {labels: value * times / book.span_s for labels, value in chosen.sums(amount, **by).items()}


def shares(part: Ledger, whole: Ledger, **by: Label) -> Truth:
    """Returns the share of some entries in others, for each of these others' labels."""
    some, all = part.sums(**by), whole.sums(**by)
    return {labels: some.get(labels, 0) / value for labels, value in all.items()}


def quantiles(q: float, bounds: Sequence[float], times: Iterable[tuple[Labels, Within]]) -> Truth:
    """Returns the bucket in which a quantile lies, or those in which it may lie, of times that are known within
    bounds. `bounds` are those of the histogram."""
    grouped: dict[Labels, list[Within]] = defaultdict(list)
    for labels, time in times:
        grouped[labels].append(time)
    return {
        labels: Within(
            _bucket(q, bounds, [each.least for each in found])[0], _bucket(q, bounds, [each.most for each in found])[1]
        )
        for labels, found in grouped.items()
    }


def distribution(book: Book, bounds: Sequence[float], times: Iterable[Within]) -> Truth:
    """Returns how many times a second are at most each bound, of times that are known within bounds."""
    known = list(times)
    return {
        (("le", "+Inf" if math.isinf(bound) else str(float(bound))),): Within(
            sum(each.most <= bound for each in known) / book.span_s,
            sum(each.least <= bound for each in known) / book.span_s,
        )
        for bound in (*bounds, math.inf)
    }


def _bucket(q: float, bounds: Sequence[float], times: Sequence[float]) -> tuple[float, float]:
    """Returns the bucket of a quantile: of its rank, and where that is a whole number, also of the next time."""
    ordered, rank = sorted(times), q * len(times)
    first, last = math.ceil(rank - 1e-6), math.ceil(rank + 1e-6)
    below, above = (bisect_left(bounds, ordered[min(max(each, 1), len(ordered)) - 1]) for each in (first, last))
    top = len(bounds) - 1  # beyond the last bound Prometheus shows that bound
    return (0.0 if min(below, top) == 0 else bounds[min(below, top + 1) - 1]), bounds[min(above, top)]


def differences(truth: Truth, shown: Sequence[Mapping[str, Any]], by: Iterable[str] | None = None) -> list[str]:
    """Returns where a figure differs from the truth; what it does not show is zero."""
    got = {labels_of(each["metric"]): float(each["value"][1]) for each in shown}
    got = {labels: value for labels, value in got.items() if not math.isnan(value)}
    found = []
    for labels in sorted(truth.keys() | got.keys()):
        wanted, value = truth.get(labels, 0.0), got.get(labels, 0.0)
        if not _equal(wanted, value):
            named = ", ".join(f"{name}={text}" for name, text in labels) or "all"
            found.append(f"{named}: shows {value:g}, and {wanted} is true")
    return found


def labels_of(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, value) for name, value in metric.items() if name != "__name__"))


def _equal(wanted: Expected, value: float) -> bool:
    if isinstance(wanted, Within):
        slack = EXACT * max(abs(wanted.least), abs(wanted.most))
        return wanted.least - slack <= value <= wanted.most + slack
    return math.isclose(wanted, value, rel_tol=EXACT, abs_tol=1e-9)
