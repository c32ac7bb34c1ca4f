"""The queries of all dashboards."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.panel import Unit


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel, with the dashboard's variables, which `without_variables` replaces."""

    dashboard: str
    panel: str
    expression: str
    unit: Unit


def queries() -> list[Query]:
    """Returns every query of every panel."""
    return [
        Query(dashboard.name, panel.title, target.expression, panel.unit)
        for dashboard in DASHBOARDS
        for panel in dashboard.panels
        for target in panel.targets
    ]
