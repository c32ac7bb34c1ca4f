"""Dashboards of Grafana and Perses, as lists of panels."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.dashboards import assistants, feedback, gpus, models, objectives, overview, ray, tenants
from monitoring.dashboards.panel import Dashboard, Unit
from monitoring.dashboards.variables import without_variables as without_variables

DASHBOARDS: tuple[Dashboard, ...] = tuple(
    module.dashboard() for module in (overview, models, assistants, tenants, objectives, feedback, ray, gpus)
)


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
