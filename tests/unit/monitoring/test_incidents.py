"""What names the cause of an incident exists, is linked, and is near the overview."""

from __future__ import annotations

import pytest

from monitoring import alert_evidence
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.links import alerts_by_panel
from monitoring.groups import GROUPS
from monitoring.rule import Alert
from monitoring.runbook_text import FOLDER
from tests.contract.monitoring.incidents import links, report
from tests.contract.monitoring.incidents.incident import INCIDENTS
from tests.contract.monitoring.incidents.injections import INJECTIONS

ALERTS = {rule.name: rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}
BOARDS = {board.name: board for board in DASHBOARDS}
each_incident = pytest.mark.parametrize("incident", INCIDENTS, ids=lambda each: each.name)


def test_each_incident_is_injected_and_is_evidence_for_its_alert():
    assert [each.name for each in INCIDENTS] == list(INJECTIONS)
    assert {each.name: each.alert for each in INCIDENTS} == alert_evidence.INCIDENTS


@each_incident
def test_the_panel_is_on_its_dashboard_and_leads_to_the_alert(incident):
    assert incident.alert in alerts_by_panel(BOARDS[incident.dashboard], GROUPS)[incident.panel]


@each_incident
def test_the_runbook_has_the_cause_among_the_likely_ones(incident):
    text = (FOLDER / f"{incident.alert}.md").read_text()
    assert incident.cause in text.partition("\n## Likely causes\n")[2].partition("\n## ")[0]


@each_incident
def test_the_summary_names_whom_the_labels_name(incident):
    summary = ALERTS[incident.alert].summary
    assert [name for name in incident.labels if f"{{{{ $labels.{name} }}}}" not in summary] == []


@each_incident
def test_alerts_that_may_fire_first_name_the_same_cause(incident):
    assert {"page"} >= {ALERTS[name].severity for name in incident.also}


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_every_alert_its_dashboard_and_its_runbook_are_near_the_overview(alert):
    near = links.distances()
    pages = (
        links.TO.alert(alert),
        links.TO.runbook(alert),
        links.TO.dashboard(ALERTS[alert].dashboard),
    )
    assert {page: near.get(page) for page in pages if near.get(page, links.MOST + 1) > links.MOST} == {}


def test_an_alert_that_nothing_links_to_is_far(monkeypatch):
    real = list(links._links())
    lost = {links.TO.alert("QuotaNear"), links.TO.runbook("QuotaNear")}
    monkeypatch.setattr(links, "_links", lambda: [(here, there) for here, there in real if there not in lost])
    links.distances.cache_clear()
    found = links.distances()
    links.distances.cache_clear()
    assert not lost & found.keys()
    assert found[links.TO.runbook("CanaryWorse")] == 2


def test_the_page_is_up_to_date():
    """Otherwise run `python -m tests.contract.monitoring.incidents`."""
    assert report.PAGE.read_text() == report.page()
