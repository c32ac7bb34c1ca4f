"""Dashboards as Perses' JSON.

After Perses' dashboard specification (perses/perses, docs/api/dashboard.md) and the schemas of its plugins
(perses/plugins: timeserieschart, statchart, table, prometheus), as of August 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.dashboards.links import Link
from monitoring.dashboards.panel import COLUMNS, TARGETS, Colour, Dashboard, Panel, Unit, Variable

Document = dict[str, Any]

PROJECT = "headrace"
DATASOURCE = "$datasource"
UNITS: Mapping[Unit, str] = {
    "seconds": "seconds",
    "bytes": "bytes",
    "ratio": "percent-decimal",
    "percent": "percent",
    "currency": "decimal",
    "celsius": "celsius",
    "watts": "decimal",
    "1": "decimal",
    "requests/s": "requests/sec",
    "tokens/s": "counts/sec",
    "operations/s": "ops/sec",
    "bytes/s": "bytes/sec",
    "megabytes": "decimal",
}
COLOURS: Mapping[Colour, str] = {"green": "#73bf69", "yellow": "#fade2a", "orange": "#ff9830", "red": "#f2495c"}


def document(dashboard: Dashboard, links: Mapping[str, Sequence[Link]]) -> Document:
    """Returns a `Dashboard` resource of the project `headrace`; `links` are by panel title."""
    keys = {id(panel): str(number) for number, panel in enumerate(dashboard.panels)}
    return {
        "kind": "Dashboard",
        "metadata": {"name": f"headrace-{dashboard.name}", "project": PROJECT},
        "spec": {
            "display": {"name": dashboard.title, "description": dashboard.description},
            "duration": "1h",
            "refreshInterval": "30s",
            "variables": [_datasource(), *(_variable(v) for v in (*TARGETS, *dashboard.variables))],
            "panels": {keys[id(panel)]: _panel(panel, links.get(panel.title, ())) for panel in dashboard.panels},
            "layouts": [
                {
                    "kind": "Grid",
                    "spec": {
                        "display": {"title": row.title, "collapse": {"open": True}},
                        "items": [
                            {**place, "content": {"$ref": f"#/spec/panels/{keys[id(panel)]}"}}
                            for panel, place in zip(row.panels, _grid_positions(row.panels), strict=True)
                        ],
                    },
                }
                for row in dashboard.rows
            ],
        },
    }


def _grid_positions(panels: Sequence[Panel]) -> list[Document]:
    places, x, y, tallest = [], 0, 0, 0
    for panel in panels:
        if x + panel.width > COLUMNS:
            x, y, tallest = 0, y + tallest, 0
        places.append({"x": x, "y": y, "width": panel.width, "height": panel.height})
        x, tallest = x + panel.width, max(tallest, panel.height)
    return places


def _datasource() -> Document:
    return {
        "kind": "ListVariable",
        "spec": {
            "name": "datasource",
            "display": {"name": "Data source"},
            "allowAllValue": False,
            "allowMultiple": False,
            "plugin": {"kind": "DatasourceVariable", "spec": {"datasourcePluginKind": "PrometheusDatasource"}},
        },
    }


def _variable(variable: Variable) -> Document:
    return {
        "kind": "ListVariable",
        "spec": {
            "name": variable.name,
            "display": {"name": variable.title},
            "allowAllValue": True,
            "allowMultiple": True,
            "customAllValue": variable.all_value,
            "defaultValue": "$__all",
            "sort": "alphabetical-asc",
            "plugin": {
                "kind": "PrometheusLabelValuesVariable",
                "spec": {"datasource": DATASOURCE, "labelName": variable.label, "matchers": [variable.selector]},
            },
        },
    }


def _panel(panel: Panel, links: Sequence[Link]) -> Document:
    kind, spec = _plugin(panel)
    made: Document = {
        "display": {"name": panel.title, "description": panel.description},
        "plugin": {"kind": kind, "spec": spec},
        "queries": [
            {
                "kind": "TimeSeriesQuery",
                "spec": {
                    "plugin": {
                        "kind": "PrometheusTimeSeriesQuery",
                        "spec": {
                            "datasource": DATASOURCE,
                            "query": target.expression,
                            "seriesNameFormat": target.legend,
                        },
                    }
                },
            }
            for target in panel.targets
        ],
    }
    # Links within Grafana do not work in Perses.
    if outside := [link for link in links if not link.url.startswith("/")]:
        made["links"] = [{"name": link.title, "url": link.url, "targetBlank": True} for link in outside]
    return {"kind": "Panel", "spec": made}


def _plugin(panel: Panel) -> tuple[str, Document]:
    format = {"unit": UNITS[panel.unit]}
    thresholds = {
        "mode": "absolute",
        "defaultColor": COLOURS[panel.base],
        "steps": [{"value": step.value, "color": COLOURS[step.colour]} for step in panel.steps],
    }
    coloured = {"thresholds": thresholds} if panel.steps else {}
    match panel.kind:
        case "stat":
            return "StatChart", {"calculation": "last-number", "format": format, "sparkline": {}, **coloured}
        case "table":
            return "Table", {"density": "compact", "columnSettings": [{"name": "value", "format": format}]}
        case "timeseries":
            visual = {"areaOpacity": 0.3, "stack": "all"} if panel.stacked else {"areaOpacity": 0.1}
            legend = {"position": "bottom", "mode": "list"}
            return "TimeSeriesChart", {"legend": legend, "yAxis": {"format": format}, "visual": visual, **coloured}
        case "heatmap":
            # Perses' HeatMapChart knows native histograms alone: of buckets, a line for each bound has the same data.
            return "TimeSeriesChart", {
                "legend": {"position": "bottom", "mode": "list"},
                "yAxis": {"format": {"unit": UNITS["requests/s"]}},
                "visual": {"areaOpacity": 0.1},
            }
