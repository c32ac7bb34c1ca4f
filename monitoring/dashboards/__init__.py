"""Dashboards of Grafana and Perses, as lists of panels."""

from __future__ import annotations

from monitoring.dashboards import assistants, capacity, feedback, gpus, models, objectives, overview, ray, tenants
from monitoring.dashboards.panel import Dashboard

DASHBOARDS: tuple[Dashboard, ...] = tuple(
    module.dashboard() for module in (overview, models, assistants, tenants, capacity, objectives, feedback, ray, gpus)
)
