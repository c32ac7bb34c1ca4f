"""The data of a panel: its series on a common time grid, or the rows of its table."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.dashboards.panel import Dashboard, Panel
from monitoring.status.prometheus import Prometheus
from monitoring.status.selection import Selection, fill_variables, variables
from monitoring.status.window import Window

FIRING = 'count by (alertname, severity) (ALERTS{alertstate="firing",severity!="none"})'
_LABEL = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Answer = dict[str, Any]


async def panel_answer(
    prometheus: Prometheus, dashboard: Dashboard, panel: Panel, chosen: Selection, window: Window, now: float
) -> Answer:
    """Returns `times` (Unix, seconds) and `series` of a chart or number, or `columns` and `rows` of a table.

    Raises `Problem`.
    """
    expressions = [fill_variables(target.expression, dashboard, chosen, window) for target in panel.targets]
    if panel.kind == "table":
        found = await asyncio.gather(*(prometheus.instant(expression) for expression in expressions))
        named = [label for target in panel.targets for label in _LABEL.findall(target.legend)]
        return _table([one for series in found for one in series], named)
    start = now - window.seconds
    grid = await asyncio.gather(*(prometheus.range(expression, start, now, window.step) for expression in expressions))
    count = window.seconds // window.step + 1
    series: list[Answer] = [
        {"name": legend(target.legend, one["metric"]), "values": _values(one["values"], start, window.step, count)}
        for target, found in zip(panel.targets, grid, strict=True)
        for one in found
    ]
    some = [one for one in series if one["values"].count(None) < count]
    return {"times": [start + i * window.step for i in range(count)], "series": some}


async def label_choices(
    prometheus: Prometheus, dashboard: Dashboard, chosen: Selection, window: Window, now: float
) -> dict[str, list[str]]:
    """Returns the values of each variable, given the selection for the others; raises `Problem`."""
    asked = variables(dashboard)
    found = await asyncio.gather(
        *(
            prometheus.label_values(
                variable.label, fill_variables(variable.selector, dashboard, chosen, window), now - window.seconds, now
            )
            for variable in asked
        )
    )
    return {variable.name: values for variable, values in zip(asked, found, strict=True)}


async def firing_alerts(prometheus: Prometheus) -> list[dict[str, Any]]:
    """Returns firing alerts with `name`, `severity` and `count`; raises `Problem`."""
    count = {
        (one["metric"].get("alertname", ""), one["metric"].get("severity", "")): int(one["value"][1])
        for one in await prometheus.instant(FIRING)
    }
    order = {"page": 0, "ticket": 1, "info": 2}
    keys = sorted(count, key=lambda key: (order.get(key[1], 3), key))
    return [{"name": name, "severity": severity, "count": count[name, severity]} for name, severity in keys]


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Returns the name of a series; all of its labels if it has none of those in the template."""
    name = _LABEL.sub(lambda found: labels.get(found[1], ""), template).strip()
    return name or ", ".join(f"{k}={v}" for k, v in sorted(labels.items()) if k != "__name__") or "value"


def _values(points: Sequence[Sequence[Any]], start: float, step: int, count: int) -> list[float | None]:
    """Returns the points on the grid; None for a missing point or one that is not a finite number."""
    values: list[float | None] = [None] * count
    for time, text in points:
        values[round((float(time) - start) / step)] = _number(text)
    return values


def _table(found: Sequence[Mapping[str, Any]], named: Sequence[str]) -> Answer:
    """Returns a table whose first columns are the labels in the panel's legend."""
    names = {name for one in found for name in one["metric"]} - {"__name__", "alertstate"}
    columns = sorted(names, key=lambda name: (name not in named, name != "severity", name))
    rows = [[*(one["metric"].get(name, "") for name in columns), _number(one["value"][1])] for one in found]
    return {"columns": columns, "rows": sorted(rows, key=lambda row: [str(cell) for cell in row])}


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None
