"""The data of a dashboard: series of its panels on a common time grid, rows of its tables, values of its filters."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from serving.telemetry.dashboards.board import Dashboard, Panel
from serving.telemetry.dashboards.filters import Selection, TimeRange, fill_variables
from serving.telemetry.dashboards.prometheus import PrometheusClient, QueryFailed, gather

NAMESPACE = "namespace"
"""The variable of the stack's namespace, which is not the reader's to choose where it is set."""
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Series:
    """A named line; None stands for a missing point, or one that is not a finite number."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class PanelData:
    """The series of a chart or number, or the columns and rows of a table, or why there are none."""

    series: Sequence[Series] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str | float | None]] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rollout:
    """The first point of time, in Unix seconds, with another code or configuration: the parts that changed."""

    at: int
    parts: Sequence[str]


@dataclass(frozen=True, slots=True)
class DashboardData:
    """The data of its panels by id, whose points have the times `start + i * step`.

    `selection` is what was filtered by, `choices` are the values of each variable.
    """

    start: int
    step: int
    selection: Selection
    choices: Mapping[str, Sequence[str]]
    panels: Mapping[str, PanelData]
    rollouts: Sequence[Rollout]


class NoSuchValue(Exception):
    """A filter selects a value that no series has in the range; `variable` is its name."""

    def __init__(self, variable: str) -> None:
        super().__init__(variable)
        self.variable = variable


async def dashboard_data(
    prometheus: PrometheusClient, dashboard: Dashboard, selection: Selection, range: TimeRange, now: int
) -> DashboardData:
    """Evaluates a dashboard at a time in Unix seconds. A query that fails is its panel's error.

    Raises `NoSuchValue`, `QueryFailed` for the values of a filter, and `PrometheusUnavailable`.
    """
    asked = selection
    if prometheus.namespace:
        selection = {**selection, NAMESPACE: prometheus.namespace}
    start = now - range.seconds
    choices = await _choices(prometheus, dashboard, selection, range, now)
    for name, value in asked.items():
        if value not in choices[name]:
            raise NoSuchValue(name)
    data = await gather(*(_panel(prometheus, dashboard, panel, selection, range, now) for panel in dashboard.panels))
    panels = {panel.id: one for panel, one in zip(dashboard.panels, data, strict=True)}
    rollouts = await _rollouts(prometheus, dashboard, selection, range, now)
    return DashboardData(start, range.step, selection, choices, panels, rollouts)


async def _rollouts(
    prometheus: PrometheusClient, dashboard: Dashboard, selection: Selection, range: TimeRange, now: int
) -> list[Rollout]:
    expression = fill_variables(dashboard.rollouts, dashboard, selection, range)
    found: dict[int, list[str]] = {}
    for one in await prometheus.range(expression, now - range.seconds, now, range.step):
        # Points that are missing while nothing was served are skipped: what was rolled out meanwhile is marked after.
        for (_, before), (time, after) in pairwise(one["values"]):
            if before != after:
                found.setdefault(int(time), []).append(one["metric"].get("part", ""))
    return [Rollout(time, sorted(parts)) for time, parts in sorted(found.items())]


async def _choices(
    prometheus: PrometheusClient, dashboard: Dashboard, selection: Selection, range: TimeRange, now: int
) -> dict[str, list[str]]:
    """Returns the values of each variable, given the selection for the others."""
    selectors = [fill_variables(each.selector, dashboard, selection, range) for each in dashboard.variables]
    values = await gather(
        *(
            prometheus.label_values(variable.label, selector, now - range.seconds, now)
            for variable, selector in zip(dashboard.variables, selectors, strict=True)
        )
    )
    choices = {variable.name: each for variable, each in zip(dashboard.variables, values, strict=True)}
    if prometheus.namespace:
        choices[NAMESPACE] = [prometheus.namespace]
    return choices


async def _panel(
    prometheus: PrometheusClient, dashboard: Dashboard, panel: Panel, selection: Selection, range: TimeRange, now: int
) -> PanelData:
    expressions = [fill_variables(target.expression, dashboard, selection, range) for target in panel.targets]
    try:
        if panel.kind == "table":
            found = await gather(*(prometheus.instant(expression, now) for expression in expressions))
            named = [label for target in panel.targets for label in _LABEL.findall(target.legend)]
            return _table([one for series in found for one in series], named)
        start = now - range.seconds
        grid = await gather(*(prometheus.range(expression, start, now, range.step) for expression in expressions))
    except QueryFailed as e:
        return PanelData(error=str(e))
    count = range.seconds // range.step + 1
    lines = [
        Series(legend(target.legend, one["metric"]), _values(one["values"], start, range.step, count))
        for target, found in zip(panel.targets, grid, strict=True)
        for one in found
    ]
    lines = [line for line in lines if any(value is not None for value in line.values)]
    return PanelData(series=apart(lines) if panel.kind == "heatmap" else lines)


def apart(buckets: Sequence[Series]) -> list[Series]:
    """Returns how many observations lie in each bucket of a histogram, from the lowest bucket to the highest.

    `buckets` are named by their upper bounds, and each counts those below it, too.
    """
    found: list[Series] = []
    below: Sequence[float | None] | None = None
    for bucket in sorted(buckets, key=lambda one: float(one.name)):
        known = bucket.values if below is None else [_rise(*pair) for pair in zip(below, bucket.values, strict=True)]
        found.append(Series(bucket.name, known))
        below = bucket.values
    return found


def _rise(low: float | None, high: float | None) -> float | None:
    """Returns the difference of two counts that were rounded, which is not negative."""
    return None if low is None or high is None else float(f"{max(0.0, high - low):.6g}")


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Returns the name of a series; all of its labels if it has none of those in the template."""
    name = _LABEL.sub(lambda match: labels.get(match[1], ""), template).strip()
    return name or ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k != "__name__") or "value"


def _values(points: Sequence[Sequence[Any]], start: int, step: int, count: int) -> list[float | None]:
    """Returns the points on the grid."""
    values: list[float | None] = [None] * count
    for time, text in points:
        values[round((float(time) - start) / step)] = _number(text)
    return values


def _table(found: Sequence[Mapping[str, Any]], named: Sequence[str]) -> PanelData:
    """Returns a table whose first columns are the labels in the panel's legend, and whose last cell is the value."""
    names = {name for one in found for name in one["metric"]} - {"__name__", "alertstate"}
    columns = sorted(names, key=lambda name: (name not in named, name != "severity", name))
    rows = [[*(one["metric"].get(name, "") for name in columns), _number(one["value"][1])] for one in found]
    return PanelData(columns=columns, rows=sorted(rows, key=lambda row: [str(cell) for cell in row]))


def _number(text: str) -> float | None:
    """Returns a number with the six digits that a chart can show."""
    value = float(text)
    return float(f"{value:.6g}") if math.isfinite(value) else None
