"""Our dashboards: what they draw, and whether it can be read."""

from __future__ import annotations

import re

import pytest
from prometheus_client import REGISTRY

from monitoring.dashboards import DASHBOARDS, grafana, rollouts
from monitoring.dashboards.exceptions import lint_exemptions
from monitoring.dashboards.links import links_by_panel, read_series, selected_series
from monitoring.dashboards.panel import COLUMNS
from monitoring.dashboards.variables import without_variables
from monitoring.expression import mistakes
from monitoring.groups import GROUPS
from monitoring.known_series import KNOWN
from monitoring.rule import Alert
from monitoring.scope import ENGINES, has_stack_namespace
from monitoring.series import OWN
from serving.telemetry import metrics
from tests.monitoring import dashboard_lint
from tests.monitoring.queries import queries

PANELS = [panel for dashboard in DASHBOARDS for panel in dashboard.panels]
EXEMPT = {(e.rule, e.dashboard, e.panel) for e in lint_exemptions(DASHBOARDS, GROUPS)}
UNITS = {"seconds", "bytes", "ratio", "currency"}
LABEL = re.compile(r"\{\{(\w+)\}\}")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_dashboards_pass_the_linter(dashboard):
    found = dashboard_lint.findings(grafana.document(dashboard, {}))
    assert [f for f in found if (f.rule, f.dashboard, f.panel) not in EXEMPT] == []


def test_every_exempted_finding_exists():
    found = {
        (f.rule, f.dashboard, f.panel)
        for dashboard in DASHBOARDS
        for f in dashboard_lint.findings(grafana.document(dashboard, {}))
    }
    assert found == EXEMPT


def test_queries_use_existing_series():
    assert [(query, found) for query in queries() if (found := mistakes(without_variables(query.expression)))] == []


def test_everything_that_headrace_emits_is_drawn():
    drawn = {name for query in queries() for name in read_series(query.expression, {})}
    drawn |= set(read_series(rollouts.DEPLOYED, {}))  # a mark on every chart
    assert {name for one in OWN for name in read_series(one, {})} - drawn == set()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_panels_can_be_read(dashboard):
    for panel in dashboard.panels:
        assert panel.title
        assert panel.description.endswith(".")
        assert 0 < panel.width <= COLUMNS
        assert panel.targets
        values = [step.value for step in panel.steps]
        assert values == sorted(set(values)), panel.title
        assert len({target.legend for target in panel.targets}) == len(panel.targets), panel.title


def test_heatmaps_draw_the_buckets_of_one_histogram():
    drawn = {}
    for dashboard in DASHBOARDS:
        made = {panel["title"]: panel for panel in grafana.document(dashboard, {})["panels"]}
        for panel in (each for each in dashboard.panels if each.kind == "heatmap"):
            [target] = panel.targets
            assert target.legend == "{{le}}"
            assert re.match(r"sum by \(le\) \(rate\(\w+_bucket\{", target.expression), target
            shown = made[panel.title]
            [query] = shown["targets"]
            drawn[panel.title] = (shown["type"], shown["options"]["yAxis"]["unit"], query["format"])
            assert shown["options"]["calculate"] is False
    assert len(drawn) >= 2
    assert set(drawn.values()) == {("heatmap", "s", "heatmap")}


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_rollouts_are_marked(dashboard):
    [marked] = grafana.document(dashboard, {})["annotations"]["list"]
    assert mistakes(without_variables(marked["expr"])) == []
    assert f"offset {marked['step']}" in marked["expr"]
    assert marked["datasource"]["uid"] == "${datasource}"
    assert (marked["enable"], marked["titleFormat"]) == (True, "Rolled out: {{part}}")


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_titles_are_unique(dashboard):
    titles = [panel.title for panel in dashboard.panels]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_rows_are_full(dashboard):
    """Panels stand side by side as wide as the page, row by row."""
    for row in dashboard.rows:
        filled = 0
        for panel in row.panels:
            filled += panel.width
            assert filled <= COLUMNS, (row.title, panel.title)
            filled %= COLUMNS


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d.name)
def test_every_variable_is_used(dashboard):
    text = " ".join(target.expression for panel in dashboard.panels for target in panel.targets)
    common = {"namespace", "job", "instance"}
    used = set(re.findall(r"\$(\w+)", text)) - {"__rate_interval"}
    assert used | common == {*common, *(v.name for v in dashboard.variables)}


def test_a_namespace_is_chosen_for_all_that_is_of_a_stack():
    """Nodes, GPUs and certificates are the cluster's; engines may stand in another namespace."""
    for query in queries():
        selectors = re.findall(r"([a-zA-Z_:]\w*(?::\w+)*)\{([^}]*)\}", query.expression)
        assert selectors, query
        for name, matchers in selectors:
            assert ('namespace=~"$namespace"' in matchers) == (
                has_stack_namespace(KNOWN[name]) and KNOWN[name].source not in ENGINES
            ), query
    shared = {query.dashboard for query in queries() if "$namespace" not in query.expression}
    assert shared <= {"gpus", "ray", "models", "overview"}


def test_legends_name_labels_that_the_query_keeps():
    for panel in PANELS:
        for target in panel.targets:
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"\b(?:by|on)\s*\(([^)]*)\)", target.expression))))
            if kept:
                assert set(LABEL.findall(target.legend)) <= kept, target


def test_units_are_those_of_the_series():
    """Where a panel draws one metric without taking a rate or a quotient, its unit is the metric's."""
    tried = 0
    for query in queries():
        [name, *others] = read_series(query.expression, {})
        series = OWN.get(name) or OWN.get(f"{name}_sum")
        whole = not re.search(r"[/*-]|_count\{", re.sub(r"\{[^}]*\}", "{", query.expression))
        quantile = query.expression.startswith("histogram_quantile")
        if series and not others and whole and series.unit in UNITS and (quantile or "rate(" not in query.expression):
            assert query.unit == series.unit, query
            tried += 1
    assert tried > 10


def test_every_alert_is_reached_from_its_dashboard():
    alerts = {(rule.name, rule.dashboard) for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}
    shown = {
        (link.title.removeprefix("Alert "), dashboard.name)
        for dashboard in DASHBOARDS
        for found in links_by_panel(dashboard, GROUPS).values()
        for link in found
    }
    assert len(alerts) > 10
    assert alerts <= shown


def test_the_filter_by_model_lists_every_configured_model():
    """Also a remote one, which has no replica here, and before its first request."""
    metrics.introduce(["remote"])
    begun = {
        sample.name
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.labels.get("model") == "remote"
    }
    filters = [v for dashboard in DASHBOARDS for v in dashboard.variables if v.label == "model"]
    assert len(filters) == 3
    assert {name for one in filters for name in selected_series(one.selector)} <= begun
