"""Dashboards and alerts as `python -m monitoring --chart` writes them into `static/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson

_FOLDER = Path(__file__).with_name("static")

PanelKind = Literal["timeseries", "stat", "table", "heatmap"]
Colour = Literal["green", "yellow", "orange", "red"]
Severity = Literal["page", "ticket", "info", "none"]


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of a panel; `legend` names its series and may use `{{label}}`."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold: from `value` on, in the panel's unit, the panel has `colour`."""

    value: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart, number, table or heatmap; `base` is its colour below the first step, `width` a part of 24 columns."""

    id: str
    title: str
    description: str
    kind: PanelKind
    unit: str
    base: Colour
    steps: tuple[Threshold, ...]
    stacked: bool
    width: int
    targets: tuple[PanelQuery, ...]
    alerts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PanelRow:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A filter of a dashboard: the values of `label` on the series that `selector` finds.

    `all_value` is the pattern that stands for all of them.
    """

    name: str
    title: str
    selector: str
    label: str
    all_value: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Rows of panels, and the filters that apply to all of them, each of which narrows the next."""

    id: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[PanelRow, ...]
    alerts: tuple[str, ...]
    rollouts: str
    """An expression with a number for each part of what is deployed, which changes when another is rolled out."""

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, in order."""
        return tuple(panel for row in self.rows for panel in row.panels)


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert with its runbook, which is Markdown; `wait` is how long its expression must hold, such as `5m`."""

    id: str
    severity: Severity
    owner: str
    wait: str
    summary: str
    expression: str
    dashboard: str
    runbook: str


@cache
def dashboards() -> Mapping[str, Dashboard]:
    """Returns the dashboards by id, in the order of a menu."""
    return {given["id"]: _dashboard(given) for given in _stored("dashboards.json")}


@cache
def alerts() -> Mapping[str, Alert]:
    """Returns the alerts by name."""
    return {given["id"]: Alert(**given) for given in _stored("alerts.json")}


def variable_names() -> tuple[str, ...]:
    """Returns the names of the variables of all dashboards."""
    return tuple(dict.fromkeys(variable.name for each in dashboards().values() for variable in each.variables))


def _stored(name: str) -> list[dict[str, Any]]:
    stored: list[dict[str, Any]] = orjson.loads((_FOLDER / name).read_bytes())
    return stored


def _dashboard(given: dict[str, Any]) -> Dashboard:
    rows = [PanelRow(row["title"], tuple(_panel(panel) for panel in row["panels"])) for row in given["rows"]]
    variables = [Variable(**variable) for variable in given["variables"]]
    return Dashboard(
        **{**given, "rows": tuple(rows), "variables": tuple(variables), "alerts": tuple(given["alerts"])},
    )


def _panel(given: dict[str, Any]) -> Panel:
    steps = [Threshold(**step) for step in given["steps"]]
    targets = [PanelQuery(**target) for target in given["targets"]]
    return Panel(**{**given, "steps": tuple(steps), "targets": tuple(targets), "alerts": tuple(given["alerts"])})
