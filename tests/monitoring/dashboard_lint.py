"""The rules of grafana/dashboard-linter for a dashboard's JSON, checked without that program.

Written after its documentation and source (docs/rules and lint/ of its version of June 2026). Rules of Loki's queries
look at their form alone, since nothing here parses LogQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.models import units

from tests.monitoring import lint_targets

Object = Mapping[str, Any]
LINTED = ("stat", "singlestat", "graph", "table", "timeseries", "gauge")
ON_DATASOURCE = ("singlestat", "graph", "table", "timeseries")
FUNCTIONS = ("label_names", "label_values", "metrics", "query_result")
ON_TIME_RANGE_CHANGE = 2
UNITS = frozenset(value for name, value in vars(units).items() if isinstance(value, str) and name[0] != "_")
"""Units that Grafana knows: its SDK's are those of its value formats."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A violation of a rule; `panel` is a title, or empty for a rule about the whole dashboard."""

    rule: str
    dashboard: str
    panel: str
    message: str


def findings(dashboard: Object) -> list[Finding]:
    """Returns every violation in a dashboard of Grafana's JSON."""
    title = dashboard.get("title", "")
    found = [
        Finding(rule, title, "", message) for rule, check in DASHBOARD_RULES.items() for message in check(dashboard)
    ]
    for panel in panels(dashboard):
        name = panel.get("title", "")
        found += [
            Finding(rule, title, name, message)
            for rule, check in PANEL_RULES.items()
            for message in check(dashboard, panel)
        ]
        found += [
            Finding(rule, title, name, message)
            for rule, target_check in lint_targets.RULES.items()
            for target in panel.get("targets") or ()
            for message in target_check(dashboard, panel, target)
        ]
    return found


def panels(dashboard: Object) -> Iterator[Object]:
    """Yields all panels, those in rows included."""
    for panel in dashboard.get("panels", ()):
        yield panel
        yield from panel.get("panels", ())


def _variables(dashboard: Object, type: str) -> list[Object]:
    return [v for v in dashboard.get("templating", {}).get("list", ()) if v.get("type") == type]


def _template_datasource(dashboard: Object) -> Iterator[str]:
    sources = _variables(dashboard, "datasource")
    if not sources:
        yield "has no variable for the data source"
    for source in sources:
        query = source.get("query", "")
        names, labels = [f"{query}_datasource"], [f"{query.title()} data source"]
        if len(sources) == 1:
            names.append("datasource")
            labels.append("Data source")
        if source.get("name") not in names:
            yield f"the data source's variable is named {source.get('name')!r}, not {' or '.join(names)}"
        if source.get("label") not in labels:
            yield f"the data source's variable is labelled {source.get('label')!r}, not {' or '.join(labels)}"


def _template(name: str) -> Callable[[Object], Iterator[str]]:
    def check(dashboard: Object) -> Iterator[str]:
        if not lint_targets.uses_prometheus(dashboard):
            return
        variable = next((v for v in dashboard["templating"]["list"] if v.get("name") == name), None)
        if variable is None:
            yield f"has no variable {name}"
            return
        uid = _uid(variable)
        if uid.strip("${}") not in ("datasource", "prometheus_datasource"):
            yield f"variable {name} uses data source {uid!r}, not $datasource"
        wanted = {"type": "query", "label": name.title(), "multi": True, "allValue": ".+"}
        for key, value in wanted.items():
            if variable.get(key) != value:
                yield f"{key} of variable {name} is {variable.get(key)!r}, not {value!r}"

    return check


def _template_label_promql(dashboard: Object) -> Iterator[str]:
    if not lint_targets.uses_prometheus(dashboard):
        return
    for variable in _variables(dashboard, "query"):
        query = variable.get("query", "")
        text = query.get("query", "") if isinstance(query, Mapping) else query
        call = re.fullmatch(r"([a-z_]+)\((.+)\)", text)
        if not call:
            yield f"query of variable {variable.get('name')} is {text!r}, which is not a function call"
        elif call[1] not in FUNCTIONS:
            yield f"query of variable {variable.get('name')} calls {call[1]}, which Grafana does not know"
        elif call[1] in ("label_values", "query_result"):
            selector = call[2].rpartition(",")[0] or call[2] if call[1] == "label_values" else call[2]
            if problem := lint_targets.syntax_problem(selector):
                yield f"query of variable {variable.get('name')}: {problem}"


def _template_on_time_change_reload(dashboard: Object) -> Iterator[str]:
    for variable in _variables(dashboard, "query"):
        if variable.get("refresh") != ON_TIME_RANGE_CHANGE:
            yield f"variable {variable.get('name')} is not refreshed when the time range changes"


def _uneditable(dashboard: Object) -> Iterator[str]:
    if dashboard.get("editable"):
        yield "is editable, although the next deployment would undo any edit"


def _panel_datasource(dashboard: Object, panel: Object) -> Iterator[str]:
    if panel.get("type") not in ON_DATASOURCE:
        return
    names = [v.get("name") for v in _variables(dashboard, "datasource")]
    if _uid(panel) not in [written for name in names for written in (f"${name}", f"${{{name}}}")]:
        yield f"uses data source {_uid(panel)!r}, which is not a variable"


def _panel_title_description(dashboard: Object, panel: Object) -> Iterator[str]:
    if panel.get("type") in LINTED and not (panel.get("title") and panel.get("description")):
        yield "lacks a title or a description"


def _panel_units(dashboard: Object, panel: Object) -> Iterator[str]:
    if panel.get("type") not in LINTED:
        return
    if panel["type"] == "stat" and panel.get("options", {}).get("reduceOptions", {}).get("fields"):
        return  # the panel shows text
    config = panel.get("fieldConfig", {})
    properties = [p for override in config.get("overrides", ()) for p in override.get("properties", ())]
    defaults = config.get("defaults", {})
    if defaults.get("mappings") or any(p.get("id") == "mappings" and p.get("value") for p in properties):
        return
    overridden = [p.get("value") for p in properties if p.get("id") == "unit"]
    unit = overridden[-1] if overridden else defaults.get("unit")
    if unit not in UNITS:
        yield f"has unit {unit!r}, which Grafana does not know"


def _panel_no_targets(dashboard: Object, panel: Object) -> Iterator[str]:
    if panel.get("type") in LINTED and not panel.get("targets"):
        yield "has no query"


def _uid(given: Object) -> str:
    source = given.get("datasource")
    return str(source.get("uid", "")) if isinstance(source, Mapping) else str(source or "")


DASHBOARD_RULES: Mapping[str, Callable[[Object], Iterator[str]]] = {
    "template-datasource-rule": _template_datasource,
    "template-job-rule": _template("job"),
    "template-instance-rule": _template("instance"),
    "template-label-promql-rule": _template_label_promql,
    "template-on-time-change-reload-rule": _template_on_time_change_reload,
    "uneditable-dashboard": _uneditable,
}
PANEL_RULES: Mapping[str, Callable[[Object, Object], Iterator[str]]] = {
    "panel-datasource-rule": _panel_datasource,
    "panel-title-description-rule": _panel_title_description,
    "panel-units-rule": _panel_units,
    "panel-no-targets-rule": _panel_no_targets,
}
RULES = (*DASHBOARD_RULES, *PANEL_RULES, *lint_targets.RULES)
