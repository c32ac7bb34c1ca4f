"""Dashboards and alerts as data for the web console: the gateway evaluates their queries, and knows no others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.links import PAGE, alerts_by_panel
from monitoring.dashboards.panel import TARGETS, Dashboard, Panel, Variable
from monitoring.dashboards.rollouts import DEPLOYED
from monitoring.groups import GROUPS
from monitoring.rule import Alert
from monitoring.runbook_text import FOLDER

CONSOLE = Path(__file__).parents[1] / "serving" / "telemetry" / "dashboards" / "static"
_TITLE = re.compile(r"\A# .*\n+")
_REPOSITORY_LINK = re.compile(r"\[([^]]+)\]\(\.\./\.\./([^)]+)\)")


def documents() -> dict[str, Any]:
    """Returns the console's documents, by file name below `CONSOLE`."""
    return {
        "dashboards.json": [_dashboard(dashboard) for dashboard in DASHBOARDS],
        "alerts.json": [_alert(rule) for group in GROUPS for rule in group.rules if isinstance(rule, Alert)],
    }


def panel_id(title: str) -> str:
    """Returns a panel's id in its dashboard."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    alerts = alerts_by_panel(dashboard, GROUPS)
    return {
        "id": dashboard.name,
        "title": dashboard.title.removeprefix("Headrace / "),
        "description": dashboard.description,
        "variables": [_variable(variable) for variable in (*TARGETS, *dashboard.variables)],
        "rows": [
            {"title": row.title, "panels": [_panel(panel, alerts.get(panel.title, ())) for panel in row.panels]}
            for row in dashboard.rows
        ],
        "alerts": list(alerts.get(PAGE, ())),
        "rollouts": DEPLOYED,
    }


def _variable(variable: Variable) -> Mapping[str, str]:
    return {
        "name": variable.name,
        "title": variable.title,
        "selector": variable.selector,
        "label": variable.label,
        "all_value": variable.all_value,
    }


def _panel(panel: Panel, alerts: Sequence[str]) -> dict[str, Any]:
    return {
        "id": panel_id(panel.title),
        "title": panel.title,
        "description": panel.description,
        "kind": panel.kind,
        "unit": panel.unit,
        "base": panel.base,
        "steps": [{"value": step.value, "colour": step.colour} for step in panel.steps],
        "stacked": panel.stacked,
        "width": panel.width,
        "targets": [{"expression": target.expression, "legend": target.legend} for target in panel.targets],
        "alerts": list(alerts),
    }


def _alert(alert: Alert) -> dict[str, str]:
    return {
        "id": alert.name,
        "severity": alert.severity,
        "owner": alert.owner,
        "wait": alert.wait,
        "summary": alert.summary,
        "expression": alert.expression,
        "dashboard": alert.dashboard,
        "runbook": runbook(alert.name),
    }


def runbook(alert: str) -> str:
    """Returns an alert's runbook as Markdown without its title; links to pages of the repository become their paths."""
    text = _TITLE.sub("", (FOLDER / f"{alert}.md").read_text(encoding="utf-8"))
    return _REPOSITORY_LINK.sub(r"\1 (\2)", text)
