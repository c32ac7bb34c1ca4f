"""A service level objective: which requests count, which of them are good, and what share must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitoring.rule import Owner
from serving.telemetry.catalogue import Metric

Window = Literal["5m", "30m", "1h", "2h", "6h", "1d", "3d"]
WINDOWS: tuple[Window, ...] = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
"""Over which the share of bad requests is recorded."""
PERIOD = "30d"
"""Over which an objective is held."""
FASTEST = 14.4
"""The largest burn rate that an alert waits for."""


def counted(metric: Metric, matchers: str = "") -> str:
    """Returns the selector of the counter of what a counter or histogram counts. Raises `ValueError` for a gauge."""
    if metric.kind == "gauge":
        raise ValueError(f"{metric.name} is a gauge, which counts nothing")
    name = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
    return f"{name}{{{matchers}}}" if matchers else name


def within(metric: Metric, seconds: float, matchers: str = "") -> str:
    """Returns the selector of the counter of what took at most `seconds`.

    Raises `ValueError` unless a bucket of the histogram ends there: of any other time Prometheus knows nothing.
    """
    if seconds not in metric.buckets:
        bounds = ", ".join(f"{bound:g}" for bound in metric.buckets) or "none"
        raise ValueError(f"{metric.name} has no bucket that ends at {seconds:g}; there are {bounds}")
    bucket = f'le="{float(seconds)}"'  # as prometheus-client writes it
    return f"{metric.name}_bucket{{{f'{matchers}, {bucket}' if matchers else bucket}}}"


@dataclass(frozen=True, slots=True)
class Example:
    """Series that an objective counts, for tests: `good` ones, and either the `bad` ones or `all`."""

    good: str
    bad: str = ""
    all: str = ""


@dataclass(frozen=True, slots=True)
class Objective:
    """That the share `objective` of the requests in `total` are in `good`, over 30 days.

    `good` and `total` are selectors of counters, which are added up, and `good` is a part of `total`. Both are
    judged for each value of `labels`.
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
    """Seconds within which a good request is done."""

    def __post_init__(self) -> None:
        if not 0 < FASTEST * self.budget < 1:
            least = 1 - 1 / FASTEST
            raise ValueError(f"{self.name}: an objective lies above {least:.4f} and below 1, not at {self.objective:g}")

    @property
    def budget(self) -> float:
        """The share of requests that may be bad."""
        return round(1 - self.objective, 9)

    @property
    def alert(self) -> str:
        """What its alert is called; that of a slow burn ends in `SlowBurn` instead of `Burn`."""
        return f"{''.join(word.title() for word in self.name.split('_'))}BudgetBurn"

    @property
    def slow_alert(self) -> str:
        """What the alert of a slow burn is called."""
        return f"{self.alert.removesuffix('Burn')}SlowBurn"

    @property
    def requests(self) -> str:
        """Recorded name of the requests per second."""
        return self._recorded("requests", "rate5m")

    @property
    def errors(self) -> str:
        """Recorded name of the bad requests per second."""
        return self._recorded("errors", "rate5m")

    @property
    def budget_left(self) -> str:
        """Recorded name of the part of the 30 days' budget that is left: 1 is all, below 0 it is overdrawn."""
        return self._recorded("error_budget", f"left{PERIOD}")

    def ratio(self, window: Window) -> str:
        """Recorded name of the share of bad requests over a window."""
        return self._recorded("errors", f"ratio{window}")

    @property
    def expressions(self) -> dict[str, str]:
        """What a dashboard draws of it, by a title; all are shares (1 is 100 %) but `requests per second`."""
        return {
            "requests per second": self.requests,
            **{f"bad requests, {window}": self.ratio(window) for window in WINDOWS},
            **{f"burn rate, {window}": f"{self.ratio(window)} / {self.budget:g}" for window in WINDOWS},
            "budget left, 30d": self.budget_left,
        }

    def _recorded(self, what: str, operation: str) -> str:
        return f"{'_'.join(self.labels) or 'stack'}:{self.name}_{what}:{operation}"
