"""Perses' schemas as JSON Schema, as far as our dashboards use them; what else stands in a dashboard is a mistake.

From CUE of perses/plugins (timeserieschart, statchart, table, prometheus, datasourcevariable: schemas/*.cue),
perses/shared (cue/common: format, legend, threshold, calculation) and perses/perses (docs/api/dashboard.md,
docs/api/variable.md), as of August 2026.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
NUMBER: Schema = {"type": "number"}
YES: Schema = {"type": "boolean"}


def closed(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": required | (optional or {}),
        "required": sorted(required),
        "additionalProperties": False,
    }


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def plugin(kind: str, spec: Schema) -> Schema:
    return closed({"kind": {"const": kind}, "spec": spec})


FLOAT = one_of("seconds", "percent", "percent-decimal", "celsius")
SHORT = one_of("decimal", "bytes", "bytes/sec", "counts/sec", "ops/sec", "requests/sec")
FORMAT: Schema = {
    "oneOf": [
        closed({"unit": FLOAT}, {"decimalPlaces": NUMBER}),
        closed({"unit": SHORT}, {"decimalPlaces": NUMBER, "shortValues": YES}),
    ]
}
THRESHOLDS = closed(
    {},
    {
        "mode": one_of("percent", "absolute"),
        "defaultColor": TEXT,
        "steps": listed(closed({"value": NUMBER}, {"color": TEXT, "name": TEXT})),
    },
)
CALCULATION = one_of("first", "last", "first-number", "last-number", "mean", "sum", "min", "max")
LEGEND = closed(
    {"position": one_of("bottom", "right")},
    {"mode": one_of("list", "table"), "size": one_of("small", "medium"), "values": listed(CALCULATION)},
)
DATASOURCE: Schema = {"type": "string", "pattern": r"^\$\w+$"}

CHARTS = [
    plugin(
        "TimeSeriesChart",
        closed(
            {},
            {
                "legend": LEGEND,
                "yAxis": closed({}, {"format": FORMAT, "min": NUMBER, "max": NUMBER, "show": YES, "label": TEXT}),
                "thresholds": THRESHOLDS,
                "visual": closed(
                    {}, {"areaOpacity": {"type": "number", "minimum": 0, "maximum": 1}, "stack": one_of("all")}
                ),
            },
        ),
    ),
    plugin(
        "StatChart",
        closed(
            {"calculation": CALCULATION},
            {
                "format": FORMAT,
                "thresholds": THRESHOLDS,
                "sparkline": closed({}, {"color": TEXT, "width": NUMBER}),
            },
        ),
    ),
    plugin(
        "Table",
        closed(
            {},
            {
                "density": one_of("compact", "standard", "comfortable"),
                "columnSettings": listed(closed({"name": TEXT}, {"header": TEXT, "format": FORMAT, "hide": YES})),
            },
        ),
    ),
]
QUERY = closed(
    {
        "kind": {"const": "TimeSeriesQuery"},
        "spec": closed(
            {
                "plugin": plugin(
                    "PrometheusTimeSeriesQuery",
                    closed({"query": TEXT}, {"datasource": DATASOURCE, "seriesNameFormat": TEXT, "instant": YES}),
                )
            }
        ),
    }
)
LINK = closed({"url": TEXT}, {"name": TEXT, "tooltip": TEXT, "renderVariables": YES, "targetBlank": YES})
DISPLAY = closed({}, {"name": TEXT, "description": TEXT})
VARIABLE = plugin(
    "ListVariable",
    closed(
        {
            "name": {"type": "string", "pattern": r"^\w+$"},
            "plugin": {
                "oneOf": [
                    plugin("DatasourceVariable", closed({"datasourcePluginKind": TEXT})),
                    plugin(
                        "PrometheusLabelValuesVariable",
                        closed({"labelName": TEXT}, {"datasource": DATASOURCE, "matchers": listed(TEXT)}),
                    ),
                ]
            },
        },
        {
            "display": DISPLAY,
            "defaultValue": TEXT,
            "allowAllValue": YES,
            "allowMultiple": YES,
            "customAllValue": TEXT,
            "sort": one_of("none", "alphabetical-asc", "alphabetical-desc", "numerical-asc", "numerical-desc"),
        },
    ),
)
PLACE = {side: {"type": "integer", "minimum": 0} for side in ("x", "y", "width", "height")}
LAYOUT = plugin(
    "Grid",
    closed(
        {
            "items": listed(
                closed({**PLACE, "content": closed({"$ref": {"type": "string", "pattern": "^#/spec/panels/"}})})
            )
        },
        {"display": closed({"title": TEXT}, {"collapse": closed({"open": YES})})},
    ),
)
DASHBOARD = closed(
    {
        "kind": {"const": "Dashboard"},
        "metadata": closed({"name": {"type": "string", "pattern": r"^[\w.-]+$"}, "project": TEXT}),
        "spec": closed(
            {
                "panels": {
                    "type": "object",
                    "additionalProperties": plugin(
                        "Panel",
                        closed(
                            {"display": DISPLAY, "plugin": {"oneOf": CHARTS}},
                            {"queries": listed(QUERY), "links": listed(LINK)},
                        ),
                    ),
                },
                "layouts": listed(LAYOUT),
            },
            {"display": DISPLAY, "variables": listed(VARIABLE), "duration": TEXT, "refreshInterval": TEXT},
        ),
    }
)
