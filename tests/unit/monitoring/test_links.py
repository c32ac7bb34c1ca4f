"""From a panel to its alerts and their runbooks."""

from __future__ import annotations

from monitoring.addresses import Addresses
from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.links import PAGE, links_by_panel, read_series, selected_series
from monitoring.dashboards.panel import Dashboard, Panel, Row, Target
from monitoring.dashboards.variables import without_variables
from monitoring.groups import GROUPS
from monitoring.rule import Alert, Case, Group, Recording

NEVER = Case("1m", ())
ADDRESSES = Addresses("https://git.example.com/runbooks", "https://grafana.example.com")


def alert(name, expression, dashboard="page"):
    return Alert(name, expression, "5m", "page", "platform", "It is so.", dashboard, NEVER, NEVER)


def panel(title, expression):
    return Panel(title, "What it is.", "1", (Target(expression, ""),))


PAGE_OF_TWO = Dashboard(
    "page",
    "Page",
    "A page.",
    (Row("Row", (panel("Errors", "sum(rate(errors_total[$__rate_interval]))"), panel("Up", 'up{job=~"$job"}'))),),
)
RATE = Recording("all:errors:rate5m", "sum(rate(errors_total[5m]))", "1", (), "Errors.")


def shown(*rules):
    return {
        title: [one.title for one in found]
        for title, found in links_by_panel(PAGE_OF_TWO, [Group("g", rules)], ADDRESSES).items()
    }


def test_a_panel_and_an_alert_of_the_same_series_belong_together():
    assert shown(alert("Down", "up == 0")) == {"Up": ["Alert Down", "Runbook of Down"]}


def test_a_panel_leads_to_alerts_on_its_recording_rule():
    assert shown(RATE, alert("Errors", "all:errors:rate5m > 1")).keys() == {"Errors"}


def test_an_alert_without_a_panel_is_linked_from_the_page():
    assert shown(alert("Other", "other > 1")).keys() == {PAGE}


def test_alerts_of_other_dashboards_are_not_shown():
    assert shown(alert("Down", "up == 0", "elsewhere")) == {}


def test_a_recorded_series_leads_to_its_alerts_on_whatever_dashboard():
    other = Dashboard("other", "Other", "A page.", (Row("Row", (panel("Rate", RATE.name), panel("Up", "up"))),))
    rules = (RATE, alert("Errors", f"{RATE.name} > 1"), alert("Down", "up == 0"))
    assert links_by_panel(other, [Group("g", rules)]).keys() == {"Rate"}


def test_an_alert_of_two_series_is_on_both_panels_once():
    found = shown(RATE, alert("Both", "all:errors:rate5m > 1 and sum(rate(errors_total[1h])) > 1 unless up == 0"))
    assert found == {title: ["Alert Both", "Runbook of Both"] for title in ("Errors", "Up")}


def test_names_are_those_of_metrics():
    recorded = {"a:b": "c:d + x_bucket", "c:d": "rate(y_count[5m])"}
    assert read_series("a:b / z_sum", recorded) == {"a:b", "c:d", "x", "y", "z"}
    assert selected_series('max_over_time(a{b=~"$c"}[$__range]) unless on(x) (d or e offset 5m)') == {"a", "d", "e"}


def test_variables_are_replaced_by_match_all():
    assert without_variables('a{b=~"$b",c=~"${c:regex}"}[$__rate_interval]') == 'a{b=~".*",c=~".*"}[1m]'


def test_links_are_absolute_once_the_addresses_are_set():
    every = [
        link.url
        for dashboard in DASHBOARDS
        for found in links_by_panel(dashboard, GROUPS, ADDRESSES).values()
        for link in found
    ]
    assert len(every) > 300
    assert all(url.startswith((ADDRESSES.runbooks, ADDRESSES.grafana)) for url in every)


def test_without_addresses_there_is_no_link_that_leads_nowhere():
    for dashboard in DASHBOARDS:
        urls = {link.url for found in links_by_panel(dashboard, GROUPS).values() for link in found}
        assert all(url.startswith("/alerting/list") for url in urls)


def test_the_overview_begins_with_what_to_do_about_alerts():
    [overview] = [dashboard for dashboard in DASHBOARDS if dashboard.name == "overview"]
    assert overview.rows[0].title == "Alerts"
    links = links_by_panel(overview, GROUPS, ADDRESSES)
    for panel in overview.rows[0].panels:
        assert links[panel.title][0].url == "https://grafana.example.com/alerting/list"
