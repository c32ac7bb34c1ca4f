"""Each rule of the linter finds what breaks it, and nothing else."""

from __future__ import annotations

import copy

import pytest

from tests.monitoring import dashboard_lint as lint

HELD = '{job=~"$job",instance=~"$instance"}'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def variable(name, query):
    return {
        "name": name,
        "label": name.title(),
        "type": "query",
        "query": {"query": query, "refId": name},
        "datasource": DATASOURCE,
        "multi": True,
        "allValue": ".+",
        "refresh": 2,
    }


CLEAN = {
    "title": "Page",
    "editable": False,
    "templating": {
        "list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            variable("job", "label_values(up, job)"),
            variable("instance", 'label_values(up{job=~"$job"}, instance)'),
        ]
    },
    "panels": [
        {
            "id": 7,
            "type": "timeseries",
            "title": "Requests",
            "description": "Requests per second.",
            "datasource": DATASOURCE,
            "fieldConfig": {"defaults": {"unit": "reqps"}, "overrides": []},
            "targets": [{"expr": f"sum(rate(requests_total{HELD}[$__rate_interval]))", "datasource": DATASOURCE}],
        }
    ],
}


def broken(path, value):
    dashboard = copy.deepcopy(CLEAN)
    node = dashboard
    for key in path[:-1]:
        node = node[key]
    if value is None:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return dashboard


def with_expression(expression, **more):
    return broken(("panels", 0, "targets"), [{"expr": expression, "datasource": DATASOURCE, **more}])


def on_loki(expression):
    dashboard = with_expression(expression)
    dashboard["templating"]["list"] = [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "loki"}
    ]
    return dashboard


TEMPLATES = ("templating", "list")
PANEL = ("panels", 0)
BREAKS = [
    ("template-datasource-rule", broken((*TEMPLATES, 0, "label"), "Source")),
    ("template-datasource-rule", broken((*TEMPLATES, 0, "label"), "prometheus")),
    ("template-job-rule", broken((*TEMPLATES, 1, "multi"), False)),
    ("template-job-rule", broken((*TEMPLATES, 1, "allValue"), ".*")),
    ("template-job-rule", broken((*TEMPLATES, 1, "datasource"), {"uid": "main"})),
    ("template-job-rule", broken((*TEMPLATES, 1), None)),
    ("template-instance-rule", broken((*TEMPLATES, 2, "label"), "instance")),
    ("template-instance-rule", broken((*TEMPLATES, 2), None)),
    ("template-label-promql-rule", broken((*TEMPLATES, 1, "query"), "label_values(up{, job)")),
    ("template-label-promql-rule", broken((*TEMPLATES, 1, "query"), "values(up, job)")),
    ("template-label-promql-rule", broken((*TEMPLATES, 1, "query"), "up")),
    ("template-on-time-change-reload-rule", broken((*TEMPLATES, 1, "refresh"), 1)),
    ("panel-datasource-rule", broken((*PANEL, "datasource"), {"type": "prometheus", "uid": "main"})),
    ("panel-datasource-rule", broken((*PANEL, "datasource"), None)),
    ("panel-title-description-rule", broken((*PANEL, "title"), "")),
    ("panel-title-description-rule", broken((*PANEL, "description"), None)),
    ("panel-units-rule", broken((*PANEL, "fieldConfig", "defaults", "unit"), "requests")),
    ("panel-units-rule", broken((*PANEL, "fieldConfig"), {"defaults": {}})),
    ("panel-no-targets-rule", broken((*PANEL, "targets"), None)),
    ("target-logql-rule", on_loki('{app="a"} |= "b')),
    ("target-logql-rule", on_loki('sum(count_over_time({app="a"}[$__auto])')),
    ("target-logql-rule", on_loki("count_over_time({}[$__auto])")),
    ("target-logql-auto-rule", on_loki('sum(count_over_time({app="a"} |= "[b]" [5m]))')),
    ("target-promql-rule", with_expression("sum(")),
    ("target-promql-rule", with_expression("", panelId=8)),
    ("target-rate-interval-rule", with_expression(f"sum(rate(requests_total{HELD}[5m]))")),
    ("target-rate-interval-rule", with_expression(f"irate(requests_total{HELD}[5m])")),
    ("target-job-rule", with_expression('up{instance=~"$instance"}')),
    ("target-job-rule", with_expression('up{job="$job",instance=~"$instance"}')),
    ("target-job-rule", with_expression(f'up{HELD}/up{{instance=~"$instance"}}')),
    ("target-instance-rule", with_expression('up{job=~"$job"}')),
    ("target-counter-agg-rule", with_expression(f"sum(requests_total{HELD})")),
    ("target-counter-agg-rule", with_expression(f"max_over_time(requests_total{HELD}[1h])")),
    ("uneditable-dashboard", broken(("editable",), True)),
]


def test_a_clean_dashboard_has_no_findings():
    assert lint.findings(CLEAN) == []


@pytest.mark.parametrize(("rule", "dashboard"), BREAKS)
def test_each_violation_is_found_by_its_rule_only(rule, dashboard):
    assert {found.rule for found in lint.findings(dashboard)} == {rule}


def test_a_missing_variable_for_the_data_source_is_found():
    rules = {found.rule for found in lint.findings(broken((*TEMPLATES, 0), None))}
    assert rules == {"template-datasource-rule", "panel-datasource-rule"}


def test_every_rule_has_a_case_that_breaks_it():
    assert len(lint.RULES) == 17
    assert {rule for rule, _ in BREAKS} == set(lint.RULES)


@pytest.mark.parametrize(
    "dashboard",
    [
        broken((*PANEL, "fieldConfig"), {"defaults": {"mappings": [{"type": "value"}]}}),
        broken(
            (*PANEL, "fieldConfig"),
            {"defaults": {}, "overrides": [{"properties": [{"id": "unit", "value": "s"}]}]},
        ),
        broken(("panels",), [{"type": "row", "title": "Row", "panels": CLEAN["panels"]}]),
        broken(("panels",), [{"type": "text", "title": ""}]),
        with_expression("", panelId=7),
        with_expression(f"increase(requests_total{HELD}[1d])"),
        on_loki('sum(count_over_time({app="a", pod=~`b.*`} |= "}" [$__auto]))'),
    ],
)
def test_compliant_dashboards_have_no_findings(dashboard):
    assert lint.findings(dashboard) == []


def test_panels_inside_of_rows_count():
    panel = {**CLEAN["panels"][0], "description": ""}
    dashboard = broken(("panels",), [{"type": "row", "title": "Row", "panels": [panel]}])
    assert [found.panel for found in lint.findings(dashboard)] == ["Requests"]
