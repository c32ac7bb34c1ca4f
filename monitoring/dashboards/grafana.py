"""Dashboards as Grafana's JSON, built with Grafana's own SDK."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as options
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from monitoring.dashboards import rollouts
from monitoring.dashboards.links import Link
from monitoring.dashboards.panel import TARGETS, Dashboard, Panel, Unit, Variable

Document = dict[str, Any]
Builder = timeseries.Panel | stat.Panel | table.Panel | heatmap.Panel

DATASOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "headrace"
UNITS: Mapping[Unit, str] = {
    "seconds": units.Seconds,
    "bytes": units.BytesIEC,
    "ratio": units.PercentUnit,
    "percent": units.Percent,
    "currency": units.Short,  # the currency is a label, and Grafana's currency is a property of the panel
    "celsius": units.Celsius,
    "watts": units.Watt,
    "1": units.Short,
    "requests/s": units.RequestsPerSecond,
    "tokens/s": units.CountsPerSecond,
    "operations/s": units.OpsPerSecond,
    "bytes/s": units.BytesPerSecondIEC,
    "megabytes": units.Mebibytes,
}


def document(dashboard: Dashboard, links: Mapping[str, Sequence[Link]]) -> Document:
    """Returns the JSON that Grafana imports; `links` are by panel title, and those of the whole page under ``."""
    built = (
        build.Dashboard(dashboard.title)
        .uid(dashboard_uid(dashboard.name))
        .description(dashboard.description)
        .tags([TAG])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .timezone("browser")
        .with_variable(
            build.DatasourceVariable("datasource")
            .label("Data source")
            .type("prometheus")
            .current(_default_option("default"))
        )
        .link(
            build.DashboardLink("Headrace")
            .type(model.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .keep_time(True)
        )
    )
    for variable in (*TARGETS, *dashboard.variables):
        built.with_variable(_variable(variable))
    for link in links.get("", ()):
        built.link(_link(link))
    ids = iter(range(1, 1000))
    for row in dashboard.rows:
        built.with_row(build.Row(row.title).id(next(ids)))
        for panel in row.panels:
            built.with_panel(_panel(panel, next(ids), links.get(panel.title, ())))
    built.annotation(
        build.AnnotationQuery()
        .name("Roll-outs")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("blue")
        .expr(rollouts.CHANGED)
    )
    made: Document = json.loads(json.dumps(built.build(), cls=JSONEncoder, sort_keys=True))
    [annotation] = made["annotations"]["list"]
    # Options of Prometheus's annotations, which Grafana's SDK does not have.
    annotation |= {"step": rollouts.STEP, "titleFormat": rollouts.TITLE}
    return made


def dashboard_uid(name: str) -> str:
    """Returns the `uid` of a dashboard, which is part of its URL."""
    return f"headrace-{name}"


def _default_option(value: str) -> model.VariableOption:
    return model.VariableOption(selected=True, text=value, value=value)


def _variable(variable: Variable) -> build.QueryVariable:
    everything = model.VariableOption(selected=True, text="All", value="$__all")
    return (
        build.QueryVariable(variable.name)
        .label(variable.title)
        .datasource(DATASOURCE)
        .query({"query": f"label_values({variable.selector}, {variable.label})", "refId": variable.name})
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(variable.all_value)
        .current(everything)
    )


def _link(link: Link) -> build.DashboardLink:
    return build.DashboardLink(link.title).type(model.DashboardLinkType.LINK).url(link.url).target_blank(True)


def _panel(panel: Panel, id: int, links: Sequence[Link]) -> Builder:
    built = _panel_builder(panel)
    built.id(id).title(panel.title).description(panel.description).unit(UNITS[panel.unit]).datasource(DATASOURCE)
    built.span(panel.width).height(panel.height).links([_link(link) for link in links])
    if panel.steps:
        steps = [(None, panel.base), *((step.value, step.colour) for step in panel.steps)]
        built.thresholds(
            build.ThresholdsConfig()
            .mode(model.ThresholdsMode.ABSOLUTE)
            .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
        )
    for query in _queries(panel):
        built.with_target(query)
    return built


def _panel_builder(panel: Panel) -> Builder:
    match panel.kind:
        case "stat":
            return (
                stat.Panel()
                .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
                .graph_mode(options.BigValueGraphMode.AREA)
            )
        case "table":
            return table.Panel().show_header(True)
        case "timeseries":
            return _chart(panel)
        case "heatmap":
            return _heatmap(panel)


def _chart(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .fill_opacity(30 if panel.stacked else 10)
        .show_points(options.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(options.TooltipDisplayMode.MULTI).sort(options.SortOrder.DESCENDING))
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(options.LegendDisplayMode.LIST)
            .placement(options.LegendPlacement.BOTTOM)
        )
    )
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(options.StackingMode.NORMAL))
    if panel.steps:
        built.thresholds_style(common.GraphThresholdsStyleConfig().mode(options.GraphThresholdsStyleMode.DASHED))
    if panel.unit in ("ratio", "percent"):
        built.min(0)
    return built


def _heatmap(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .calculate(False)  # the query has buckets already
        .rows_frame(heatmap.RowsHeatmapOptions().layout(options.HeatmapCellLayout.LE))
        .y_axis(heatmap.YAxisConfig().unit(UNITS[panel.unit]))
        .cell_values(heatmap.CellValues().unit(UNITS["requests/s"]))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heat.HeatmapColorMode.SCHEME)
            .scheme("Blues")
            .scale(heat.HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(64)
        )
        .filter_values(heatmap.FilterValueRange().le(1e-9))  # empty cells stay empty
    )


def _queries(panel: Panel) -> Iterator[prometheus.Dataquery]:
    for ref, target in zip("ABCDEFGH", panel.targets, strict=False):
        query = prometheus.Dataquery().ref_id(ref).expr(target.expression).legend_format(target.legend)
        query.datasource(DATASOURCE)
        if panel.kind == "table":
            yield query.instant().format(PromQueryFormat.TABLE)
        elif panel.kind == "heatmap":
            yield query.range().format(PromQueryFormat.HEATMAP)
        else:
            yield query.range()
