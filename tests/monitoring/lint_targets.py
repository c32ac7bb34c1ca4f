"""Rules of the linter about queries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import promql_parser

from tests.monitoring import logql

Object = Mapping[str, Any]
Check = Callable[[Object, Object, Object], Iterator[str]]
QUERIED = ("singlestat", "gauge", "table", "stat", "state-timeline", "timeseries")
RATES = ("rate", "irate")
COUNTED = (*RATES, "increase")
RATE_INTERVAL = "7919s"
"""A value for `$__rate_interval` that nobody would write as a range."""
TIMES = {"$__rate_interval": RATE_INTERVAL, "$__interval": "61s", "$__range": "67m"}


def uses_prometheus(dashboard: Object) -> bool:
    """Returns whether the dashboard's first data source variable is for Prometheus."""
    return _source(dashboard) == "prometheus"


def syntax_problem(expression: str) -> str:
    """Returns why a PromQL expression with variables does not parse; empty if it does."""
    try:
        _parse(expression)
    except ValueError as error:
        return f"{expression!r} is not valid PromQL: {str(error).splitlines()[0]}"
    return ""


def _parse(expression: str) -> promql_parser.Expr:
    for variable, time in TIMES.items():
        expression = expression.replace(variable, time)
    return promql_parser.parse(expression)


def _nodes(target: Object) -> list[promql_parser.Expr]:
    """Returns every node, each before its children; none if the query does not parse, which another rule reports."""
    found: list[promql_parser.Expr] = []
    expression = target.get("expr", "")
    if not syntax_problem(expression):
        promql_parser.walk(_parse(expression), found.append)
    return found


def _source(dashboard: Object) -> str:
    variables = dashboard.get("templating", {}).get("list", ())
    return next((str(v.get("query", "")) for v in variables if v.get("type") == "datasource"), "")


def _uses_loki(dashboard: Object, panel: Object, target: Object) -> bool:
    own = target.get("datasource")
    loki = _source(dashboard) == "loki" or (isinstance(own, Mapping) and own.get("type") == "loki")
    return loki and panel.get("type") in QUERIED and not target.get("hide")


def _panel_source_problem(dashboard: Object, target: Object) -> str | None:
    """Returns None for a target with a query, else what is wrong with the panel that it takes its data from."""
    if target.get("expr") or not target.get("panelId"):
        return None
    exists = target["panelId"] in [p.get("id") for p in dashboard.get("panels", ())]
    return "" if exists else "takes its data from a panel that does not exist"


def _promql(dashboard: Object, panel: Object, target: Object) -> Iterator[str]:
    if not uses_prometheus(dashboard) or panel.get("type") not in QUERIED:
        return
    problem = _panel_source_problem(dashboard, target)
    if problem := syntax_problem(target.get("expr", "")) if problem is None else problem:
        yield problem


def _rate_interval(dashboard: Object, panel: Object, target: Object) -> Iterator[str]:
    if not uses_prometheus(dashboard) or panel.get("type") not in QUERIED:
        return
    wanted = promql_parser.parse_duration(RATE_INTERVAL)
    for call, node in pairwise(_nodes(target)):
        if not isinstance(node, promql_parser.MatrixSelector) or not isinstance(call, promql_parser.Call):
            continue
        if call.func.name in RATES and node.range != wanted:
            yield f"{target['expr']!r} computes a rate over a range other than $__rate_interval"


def _required_matcher(name: str) -> Check:
    def check(dashboard: Object, panel: Object, target: Object) -> Iterator[str]:
        if not uses_prometheus(dashboard):
            return
        for node in _nodes(target):
            if isinstance(node, promql_parser.VectorSelector):
                held = [(str(m.op), m.value) for m in node.matchers.matchers if m.name == name]
                if ("MatchOp.Re", f"${name}") not in held:
                    yield f'{node.name or "a selector"} lacks {name}=~"${name}"'

    return check


def _counter_agg(dashboard: Object, panel: Object, target: Object) -> Iterator[str]:
    nodes = _nodes(target)
    for i, node in enumerate(nodes):
        if not isinstance(node, promql_parser.VectorSelector) or not (node.name or "").endswith("_total"):
            continue
        ranged = i >= 1 and isinstance(nodes[i - 1], promql_parser.MatrixSelector)
        call = nodes[i - 2] if ranged and i >= 2 else None
        if not isinstance(call, promql_parser.Call) or call.func.name not in COUNTED:
            yield f"counter {node.name} is plotted without rate, irate or increase"


def _logql(dashboard: Object, panel: Object, target: Object) -> Iterator[str]:
    if not _uses_loki(dashboard, panel, target):
        return
    problem = _panel_source_problem(dashboard, target)
    if problem := logql.form_problem(target.get("expr", "")) if problem is None else problem:
        yield problem


def _logql_auto(dashboard: Object, panel: Object, target: Object) -> Iterator[str]:
    if _uses_loki(dashboard, panel, target):
        for fixed in (r for r in logql.ranges(target.get("expr", "")) if r != "$__auto"):
            yield f"uses the range [{fixed}] rather than [$__auto]"


RULES: Mapping[str, Check] = {
    "target-logql-rule": _logql,
    "target-logql-auto-rule": _logql_auto,
    "target-promql-rule": _promql,
    "target-rate-interval-rule": _rate_interval,
    "target-job-rule": _required_matcher("job"),
    "target-instance-rule": _required_matcher("instance"),
    "target-counter-agg-rule": _counter_agg,
}
