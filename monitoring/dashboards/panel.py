"""Panels, rows, variables and dashboards, independent of the program that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal[
    "seconds",
    "bytes",
    "ratio",
    "currency",
    "celsius",
    "watts",
    "1",
    "requests/s",
    "tokens/s",
    "operations/s",
    "bytes/s",
    "percent",
    "megabytes",
]
"""Units of an axis. `ratio` is 0 to 1, `percent` is 0 to 100 (of other programs' metrics), `megabytes` are MiB."""
Kind = Literal["timeseries", "stat", "table", "heatmap"]
"""`heatmap` draws the buckets of one histogram over time: its only target is a rate by `le`, its unit the bounds'."""
Colour = Literal["green", "yellow", "orange", "red"]
COLUMNS = 24
"""Width of a dashboard, in the units of a panel's width."""


@dataclass(frozen=True, slots=True)
class Target:
    """One query of a panel; `legend` names its series and may use `{{label}}`."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Step:
    """A threshold: from `value` on, in the panel's unit, the panel has `colour`."""

    value: float
    colour: Colour


@dataclass(frozen=True, slots=True)
class Panel:
    """One chart, number, table or heatmap; `description` says how to read it."""

    title: str
    description: str
    unit: Unit
    targets: Sequence[Target]
    kind: Kind = "timeseries"
    steps: Sequence[Step] = ()
    base: Colour = "green"
    """Colour below the first step."""
    stacked: bool = False
    width: int = 8
    """Of `COLUMNS`."""
    height: int = 8


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading, from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """A selection above the dashboard, from the values of `label` on the series that `selector` finds."""

    name: str
    title: str
    selector: str
    label: str
    all_value: str = ".*"
    """The pattern for all values: `.*` also matches series without the label."""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A page of panels; `name` is used for its file, its URL, and by alerts."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = ()

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels, in order."""
        return tuple(panel for row in self.rows for panel in row.panels)


NAMESPACE = Variable("namespace", "Namespace", "headrace_requests_in_flight", "namespace")
"""The stack, which on Kubernetes has a namespace of its own; elsewhere there is none to select."""
JOB = Variable("job", "Job", "up", "job", ".+")
INSTANCE = Variable("instance", "Instance", 'up{job=~"$job"}', "instance", ".+")
TARGETS = (NAMESPACE, JOB, INSTANCE)
"""Variables that every dashboard has before its own: which stacks and scrape targets it shows."""
