"""`/v1/admin/dashboards` and `/v1/admin/alerts`: the stack's metrics, for its operators. Queries are those of the
dashboards: a caller chooses a range and filters, and never writes PromQL.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.paging import one_of
from serving.api.services import Services
from serving.core.ids import now
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid, not_found
from serving.telemetry.dashboards.board import Alert, Dashboard, Panel, alerts, dashboards, variable_names
from serving.telemetry.dashboards.evaluate import DashboardData, NoSuchValue, PanelData, dashboard_data
from serving.telemetry.dashboards.filters import DEFAULT_RANGE, RANGES, Selection
from serving.telemetry.dashboards.firing import firing_alerts

LONGEST = 1024
"""Most characters of a filter's value."""

Document = dict[str, Any]


async def list_all(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the dashboards, without their data."""
    data = [_summary(dashboard) | {"object": "dashboard.summary"} for dashboard in dashboards().values()]
    return JsonResponse({"object": "list", "data": data})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a dashboard with the data of its panels, in a range that ends now."""
    dashboard = dashboards().get(request.path_params["dashboard_id"])
    if dashboard is None:
        raise not_found("dashboard")
    name = one_of(request.query_params.get("range"), "range", tuple(RANGES)) or DEFAULT_RANGE
    selection = _selection(request, dashboard)
    try:
        data = await dashboard_data(s.prometheus, dashboard, selection, RANGES[name], int(now()))
    except NoSuchValue as e:
        message = f"No series of the range has this value of {e.variable}: choose another, or a longer range."
        raise invalid(message, f"filter[{e.variable}]") from None
    return JsonResponse(_dashboard(dashboard, data, name))


async def list_alerts(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the firing alerts, the most severe first, with what each says and since when its condition holds."""
    firing = await firing_alerts(s.prometheus, int(now()))
    data = [
        {
            "id": alert.name,
            "object": "alert.firing",
            "severity": alert.severity,
            "count": alert.count,
            "instances": [asdict(instance) for instance in alert.instances],
            "runbook": alert.name in alerts(),
        }
        for alert in firing
    ]
    return JsonResponse({"object": "list", "data": data})


async def get_alert(s: Services, request: Request, x: Exchange) -> Response:
    """Returns an alert of the stack with its runbook in Markdown, whether it fires or not."""
    alert = alerts().get(request.path_params["alert_id"])
    if alert is None:
        raise not_found("alert")
    return JsonResponse(_alert(alert))


def _selection(request: Request, dashboard: Dashboard) -> Selection:
    """Returns the filters of a request; raises a 400."""
    known = {f"filter[{variable.name}]": variable.name for variable in dashboard.variables}
    selection: dict[str, str] = {}
    for key, value in request.query_params.multi_items():
        if not key.startswith("filter"):
            continue
        if key not in known:
            raise invalid(f"This dashboard has the filters {', '.join(known.values())}.", "filter")
        if known[key] in selection or not 0 < len(value) <= LONGEST:
            raise invalid(f"A filter must have one value of 1 to {LONGEST} characters.", key)
        selection[known[key]] = value
    return selection


def _summary(dashboard: Dashboard) -> Document:
    return {"id": dashboard.id, "title": dashboard.title, "description": dashboard.description}


def _dashboard(dashboard: Dashboard, data: DashboardData, name: str) -> Document:
    return {
        **_summary(dashboard),
        "object": "dashboard",
        "range": name,
        "start": data.start,
        "step": data.step,
        "filters": [
            {
                "name": variable.name,
                "title": variable.title,
                "value": data.selection.get(variable.name),
                "values": data.choices[variable.name],
            }
            for variable in dashboard.variables
        ],
        "rows": [
            {"title": row.title, "panels": [_panel(panel, data.panels) for panel in row.panels]}
            for row in dashboard.rows
        ],
        "alerts": dashboard.alerts,
        "rollouts": [{"at": each.at, "parts": each.parts} for each in data.rollouts],
    }


def _panel(panel: Panel, data: Mapping[str, PanelData]) -> Document:
    shape = asdict(panel)
    del shape["targets"]  # the console draws, and has no use for the queries
    return shape | asdict(data[panel.id])


def _alert(alert: Alert) -> Document:
    return {**asdict(alert), "object": "alert"}


FILTERS: dict[str, object] = {
    "type": "object",
    "properties": {name: {"type": "string", "minLength": 1, "maxLength": LONGEST} for name in variable_names()},
    "additionalProperties": False,
}
"""The schema of the parameter `filter`, of all dashboards: each has some of these."""
