"""The same dashboards in Perses."""

from __future__ import annotations

import copy

import jsonschema
import pytest

from monitoring.dashboards import DASHBOARDS, perses
from monitoring.dashboards.links import Link
from monitoring.dashboards.panel import COLUMNS
from tests.unit.monitoring.perses_schema import DASHBOARD

VALIDATOR = jsonschema.Draft202012Validator(DASHBOARD)
LINKS = (Link("Alert A", "/alerting/list"), Link("Runbook of A", "https://example.com/A.md"))


def mistakes(document):
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in VALIDATOR.iter_errors(document)]


@pytest.fixture(params=DASHBOARDS, ids=lambda d: d.name)
def dashboard(request):
    return request.param


def test_perses_dashboards_match_the_schemas(dashboard):
    assert mistakes(perses.document(dashboard, {panel.title: LINKS for panel in dashboard.panels})) == []


def test_perses_and_grafana_dashboards_agree(dashboard):
    panels = perses.document(dashboard, {})["spec"]["panels"].values()
    assert [p["spec"]["display"]["name"] for p in panels] == [p.title for p in dashboard.panels]
    queries = [[query["spec"]["plugin"]["spec"]["query"] for query in panel["spec"]["queries"]] for panel in panels]
    assert queries == [[target.expression for target in panel.targets] for panel in dashboard.panels]


def test_panels_do_not_overlap(dashboard):
    spec = perses.document(dashboard, {})["spec"]
    placed = []
    for layout in spec["layouts"]:
        taken = set()
        for item in layout["spec"]["items"]:
            cells = {(item["x"] + i, item["y"] + j) for i in range(item["width"]) for j in range(item["height"])}
            assert not cells & taken
            assert max(x for x, _ in cells) < COLUMNS
            taken |= cells
            placed.append(item["content"]["$ref"].removeprefix("#/spec/panels/"))
    assert sorted(placed) == sorted(spec["panels"])


def test_links_that_only_grafana_supports_are_omitted():
    [dashboard, *_] = DASHBOARDS
    panels = perses.document(dashboard, {panel.title: LINKS for panel in dashboard.panels})["spec"]["panels"]
    assert {link["url"] for panel in panels.values() for link in panel["spec"]["links"]} == {LINKS[1].url}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("panels", "0", "spec", "plugin", "spec", "calculation"), "latest"),
        (("panels", "0", "spec", "plugin", "spec", "format"), {"unit": "s"}),
        (("panels", "0", "spec", "queries", 0, "spec", "plugin", "kind"), "Prometheus"),
        (("variables", 1, "spec", "plugin", "spec", "label"), "job"),
        (("layouts", 0, "spec", "items", 0, "x"), -1),
        (("title",), "Overview"),
    ],
)
def test_the_schemas_detect_broken_dashboards(path, value):
    document = copy.deepcopy(perses.document(DASHBOARDS[0], {}))
    node = document["spec"]
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert mistakes(document)
