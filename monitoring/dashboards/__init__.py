"""Dashboards of Grafana and Perses, as lists of panels."""

from __future__ import annotations

from monitoring.dashboards import assistants, feedback, gpus, models, objectives, overview, ray, tenants
from monitoring.dashboards.panel import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = tuple(
    module.dashboard() for module in (overview, models, assistants, tenants, objectives, feedback, ray, gpus)
)
