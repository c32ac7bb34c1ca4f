"""The dashboard of the log, for a Grafana whose Loki has the lines of the gateways: only Grafana has it.

Its queries are LogQL over the fields of the lines, so it stands beside the dashboards that draw Prometheus' series.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import logs, loki, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import units

from monitoring.dashboards.panel import COLUMNS

SOURCE = model.DataSourceRef(type_val="loki", uid="${datasource}")
NAME = "log"
LINES = '{job=~"$job"} |= "$search"'
"""The lines that contain what was searched, such as the id of a request or of a trace."""
REQUESTS = f'{LINES} | json | message="request"'
"""The line of each request: see `serving.api.request_log`."""
SLOW_S = 5


@dataclass(frozen=True, slots=True)
class LogPanel:
    """A panel of lines, or of their number over time by a label, which is its legend."""

    title: str
    description: str
    query: str
    kind: Literal["logs", "counts"] = "logs"


PANELS = (
    LogPanel(
        "Requests by outcome",
        "Requests per interval, by outcome: ok, refused (caller's mistake or a limit), error or cancelled.",
        f"sum by (outcome) (count_over_time({REQUESTS} [$__auto]))",
        "counts",
    ),
    LogPanel(
        "Failed requests",
        "Requests that ended in an error of the stack: its code, the model that served, and the request's id.",
        f'{REQUESTS} | outcome="error" | '
        'line_format "{{.code}} {{.served}} {{.route}} {{.request_id}}"',
    ),
    LogPanel(
        "Slow requests",
        f"Requests that took more than {SLOW_S} seconds, with the model that served, and the request's and the "
        "trace's id. The fields of a line have the seconds of each stage.",
        f"{REQUESTS} | seconds > {SLOW_S} | "
        'line_format "{{.seconds}} s {{.served}} {{.route}} {{.request_id}} {{.trace_id}}"',
    ),
    LogPanel(
        "Warnings and errors",
        "Other lines with a level of at least WARNING, of Headrace, Ray and Ray Serve.",
        f'{LINES} | json | message!="request" | levelname=~"W|E|F|WARNING|ERROR|CRITICAL"',
    ),
    LogPanel("Lines", "All lines that contain what was searched. Fill in the id of a request or of a trace.", LINES),
)


def document(tag: str, uid: str) -> dict[str, Any]:
    """Returns the JSON that Grafana imports; `tag` is that of all dashboards of Headrace."""
    built = (
        build.Dashboard("Headrace / Log")
        .uid(uid)
        .description("Requests and lines of the log, where Loki collects it.")
        .tags([tag])
        .readonly()
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(build.DatasourceVariable("datasource").label("Data source").type("loki"))
        .with_variable(
            build.QueryVariable("job")
            .label("Job")
            .datasource(SOURCE)
            .query({"label": "job", "stream": "", "type": 1, "refId": "job"})
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".+")
            .current(model.VariableOption(selected=True, text="All", value="$__all"))
        )
        .with_variable(build.TextBoxVariable("search").label("Search").default_value(""))
        .link(
            build.DashboardLink("Headrace")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([tag])
            .as_dropdown(True)
            .keep_time(True)
        )
    )
    for number, panel in enumerate(PANELS, 1):
        built.with_panel(_panel(panel).id(number))
    made: dict[str, Any] = json.loads(json.dumps(built.build(), cls=JSONEncoder, sort_keys=True))
    return made


def _panel(panel: LogPanel) -> logs.Panel | timeseries.Panel:
    query = loki.Dataquery().ref_id("A").expr(panel.query).query_type("range").datasource(SOURCE)
    if panel.kind == "counts":
        built: logs.Panel | timeseries.Panel = timeseries.Panel().unit(units.Short).fill_opacity(30)
        query.legend_format("{{outcome}}")
    else:
        built = (
            logs.Panel()
            .show_time(True)
            .wrap_log_message(True)
            .enable_log_details(True)
            .sort_order(options.LogsSortOrder.DESCENDING)
        )
    built.title(panel.title).description(panel.description).datasource(SOURCE).span(COLUMNS).height(8)
    return built.with_target(query)
