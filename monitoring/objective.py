"""Service level objectives: which requests count, which of them are good, and what share must be good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitoring.rule import Owner
from serving.telemetry.catalogue import Metric

Window = Literal["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
WINDOWS: tuple[Window, ...] = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Windows over which the share of bad requests is recorded."""
EVERY = "30s"
"""Interval of the evaluations, in each of which the requests since the one before are counted."""
PERIOD = "30d"
"""The window of an objective and its error budget."""
FASTEST = 14.4
"""The largest burn rate of an alert."""


def counter_selector(metric: Metric, matchers: str = "") -> str:
    """Returns a selector of all events of a counter or histogram. Raises `ValueError` for a gauge."""
    if metric.kind == "gauge":
        raise ValueError(f"{metric.name} is a gauge, not a counter or histogram")
    name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
    return f"{name}{{{matchers}}}" if matchers else name


def bucket_selector(metric: Metric, seconds: float, matchers: str = "") -> str:
    """Returns a selector of the events of a histogram that took at most `seconds`.

    Raises `ValueError` unless the histogram has a bucket with that bound: Prometheus knows no other times.
    """
    if seconds not in metric.buckets:
        bounds = ", ".join(f"{bound:g}" for bound in metric.buckets) or "none"
        raise ValueError(f"{metric.name} has no bucket with the bound {seconds:g}; it has {bounds}")
    bucket = f'le="{float(seconds)}"'  # as prometheus-client writes it
    return f"{metric.name}_bucket{{{f'{matchers}, {bucket}' if matchers else bucket}}}"


@dataclass(frozen=True, slots=True)
class Example:
    """Series of an objective for its tests: `good` ones, and either `bad` ones or `all`."""

    good: str
    bad: str = ""
    all: str = ""


@dataclass(frozen=True, slots=True)
class Objective:
    """The objective that a share `objective` of the requests in `total` is in `good`, over 30 days.

    `good` and `total` are selectors of counters, whose sums are taken; `good` is a subset of `total`. Both are
    evaluated separately for each value of `labels`.
    """

    name: str
    help: str
    owner: Owner
    good: tuple[str, ...]
    total: tuple[str, ...]
    objective: float
    example: Example
    labels: tuple[str, ...] = ()
    threshold_s: float | None = None
    """Seconds within which a good request is done, unless its model has its own objective."""
    fewest: int = 1
    """Fewest requests in the long window of an alert."""

    def __post_init__(self) -> None:
        if not 0 < FASTEST * self.budget < 1:
            least = 1 - 1 / FASTEST
            raise ValueError(f"{self.name}: an objective is above {least:.4f} and below 1, not {self.objective:g}")

    @property
    def budget(self) -> float:
        """The share of requests that may be bad."""
        return round(1 - self.objective, 9)

    @property
    def alert(self) -> str:
        """The name of the alert on fast burn."""
        return f"{''.join(word.title() for word in self.name.split('_'))}BudgetBurn"

    @property
    def slow_alert(self) -> str:
        """The name of the alert on slow burn."""
        return f"{self.alert.removesuffix('Burn')}SlowBurn"

    @property
    def requests(self) -> str:
        """The recorded series of the number of requests since the evaluation before."""
        return self._series_name("requests", f"increase{EVERY}")

    @property
    def errors(self) -> str:
        """The recorded series of the number of bad requests since the evaluation before."""
        return self._series_name("errors", f"increase{EVERY}")

    @property
    def budget_left(self) -> str:
        """The recorded series of the share of the error budget that is left: 1 is all, below 0 it is exceeded."""
        return self._series_name("error_budget", f"left{PERIOD}")

    def ratio(self, window: Window) -> str:
        """Returns the recorded series of the share of bad requests over a window."""
        return self._series_name("errors", f"ratio{window}")

    @property
    def expressions(self) -> dict[str, str]:
        """Expressions for a dashboard by title; all are shares (1 is 100 %) except `requests per second`."""
        return {
            "requests per second": f"sum_over_time({self.requests}[5m]) / 300",
            **{f"bad requests, {window}": self.ratio(window) for window in WINDOWS},
            **{f"burn rate, {window}": f"{self.ratio(window)} / {self.budget:g}" for window in WINDOWS},
            "budget left, 30d": self.budget_left,
        }

    def _series_name(self, what: str, operation: str) -> str:
        return f"{'_'.join(self.labels) or 'stack'}:{self.name}_{what}:{operation}"
