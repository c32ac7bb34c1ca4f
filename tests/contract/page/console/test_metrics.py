"""Dashboards and alerts in the console, over a real Prometheus: what is drawn is what the API answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from serving.config import Catalog, PrometheusServer
from tests.contract.monitoring.loaded import loaded
from tests.contract.page.console.operated import Operated, settled
from tests.contract.page.console.test_views import MOST_REQUESTS, requests
from tests.contract.page.test_accessibility import clean, press, texts
from tests.contract.page.world import Shown
from tests.contract.running import Loop, gateway
from tests.servers.browser import Chromium, unpacked
from tests.wait import eventually

HOSTILE = "<img src=x onerror=alert(1)>"
DEPLOYED: dict[str, dict[Any, float]] = {}
"""What the scraped gateways serve now: a test rolls out another."""
DASHBOARDS = ("overview", "models", "assistants", "tenants", "capacity", "objectives", "feedback", "ray", "gpus")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    unpacked()
    folder = tmp_path_factory.mktemp("watched")
    with loaded() as prometheus, Loop() as loop:
        server = PrometheusServer(url=prometheus.url)
        with gateway(loop, folder, Catalog(), prometheus=server) as up:
            labels = {"alertname": HOSTILE, "alertstate": "firing", "severity": "ticket"}
            prometheus.world.families["ALERTS"].rows[frozenset(labels.items())] = 1.0
            browser = Chromium()
            made = Operated(up, browser, folder)
            DEPLOYED.update(now=prometheus.world.families["headrace_deployed_hash"].rows)
            eventually(lambda: HOSTILE in alerts(made), "the alert fires", 60)
            eventually(lambda: drawn(made, "overview")["requests-by-outcome"]["series"], "requests are counted", 60)
            yield made
            made.http.close()
            browser.close()


def alerts(watched: Operated) -> list[str]:
    answer = watched.http.get("/v1/admin/alerts")
    return [each["id"] for each in answer.json()["data"]] if answer.status_code == 200 else []


def drawn(watched: Operated, dashboard: str, **query: str) -> dict[str, dict[str, Any]]:
    rows = watched.get(f"/v1/admin/dashboards/{dashboard}", **query)["rows"]
    return {panel["id"]: panel for row in rows for panel in row["panels"]}


def titles(shown: Shown) -> list[str]:
    found: list[str] = shown.page.evaluate("[...document.querySelectorAll('.metric h3')].map((one) => one.textContent)")
    return found


def there(shown: Shown, panels: int) -> None:
    shown.page.until(f"document.querySelectorAll('.metric').length === {panels}")
    settled(shown)


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_each_dashboard_has_its_panels_with_three_requests(watched: Operated, dashboard: str) -> None:
    panels = drawn(watched, dashboard)
    with watched.page(f"/admin/dashboards?dashboard={dashboard}&refresh=0") as shown:
        there(shown, len(panels))
        assert titles(shown) == [panel["title"] for panel in panels.values()]
        assert 1 <= len(requests(shown, watched)) <= MOST_REQUESTS
        assert shown.count(".plot path.grid") > 0 or dashboard == "objectives"
        shown.page.settle()
        assert shown.page.complaints == []


def test_a_chart_draws_each_series_and_names_it(watched: Operated) -> None:
    with watched.page("/admin/dashboards?refresh=0") as shown:
        there(shown, len(drawn(watched, "overview")))
        panel = "[aria-labelledby=panel-requests-by-outcome]"
        names = shown.page.evaluate(
            f"[...document.querySelectorAll('{panel} .legend bdi')].map((one) => one.textContent)"
        )
        assert names
        assert set(names) == {one["name"] for one in drawn(watched, "overview")["requests-by-outcome"]["series"]}
        lines = f"[...document.querySelectorAll('{panel} .line > path:not(.area)')].map((one) => one.getAttribute('d'))"
        assert len([line for line in shown.page.evaluate(lines) if line.startswith("M")]) == len(names)
        shown.click(f"{panel} .legend button")  # the last one
        shown.there(f"{panel} .legend button[aria-pressed=false]", names[-1])
        assert shown.page.evaluate(f"{lines}.at(-1)") == ""


def test_the_arrow_keys_read_a_chart_out(watched: Operated) -> None:
    with watched.page("/admin/dashboards?refresh=0") as shown:
        there(shown, len(drawn(watched, "overview")))
        panel = "[aria-labelledby=panel-requests-by-outcome]"
        shown.page.evaluate(f"document.querySelector('{panel} .plot').focus()")
        shown.page.press("ArrowLeft", 37)
        shown.there(f"{panel} .cursor")
        value = f"document.querySelector('{panel} [role=slider]').getAttribute('aria-valuetext')"
        last = shown.page.evaluate(value)
        name = drawn(watched, "overview")["requests-by-outcome"]["series"][0]["name"]
        assert f"{name} " in last
        for _ in range(30):
            shown.page.press("ArrowLeft", 37)
        shown.page.until(f"document.querySelector('{panel} [role=slider]').ariaValueNow === '210'")
        assert shown.page.evaluate(value) != last
        shown.page.press("Tab", 9)
        shown.gone(f"{panel} .cursor")
        assert shown.page.evaluate("document.activeElement.className") == "small"


def test_a_heatmap_draws_cells_and_reads_its_buckets_out(watched: Operated) -> None:
    id = "distribution-of-the-time-to-first-token"
    filled = "the heatmap has a cell at its last point"
    eventually(lambda: any(one["values"][-1] for one in drawn(watched, "models")[id]["series"]), filled, 120)
    with watched.page("/admin/dashboards?dashboard=models&refresh=0") as shown:
        there(shown, len(drawn(watched, "models")))
        panel = f"[aria-labelledby=panel-{id}]"
        filled = f"[...document.querySelectorAll('{panel} path.heat')].filter((one) => one.getAttribute('d'))"
        assert shown.page.evaluate(f"{filled}.length") > 0
        assert shown.page.evaluate(f"getComputedStyle({filled}[0]).fill") != "none"
        said = shown.page.evaluate(f"document.querySelector('{panel} [role=slider]').getAttribute('aria-valuetext')")
        assert ("≤ " in said) or ("> " in said)
        assert said.endswith("/s")
        shown.page.evaluate(f"document.querySelector('{panel} .plot').focus()")
        shown.page.press("ArrowLeft", 37)
        shown.there(f"{panel} .cursor")


def test_a_rollout_is_a_line_in_each_chart_and_its_time_is_above_them(watched: Operated) -> None:
    rows = DEPLOYED["now"]
    for row in rows:
        rows[row] += 1
    eventually(lambda: watched.get("/v1/admin/dashboards/overview", range="15m")["rollouts"], "a roll-out", 60)
    with watched.page("/admin/dashboards?refresh=0&range=15m") as shown:
        there(shown, len(drawn(watched, "overview")))
        assert shown.count(".plot path.rollout") == shown.count(".plot") > 5
        assert "Rolled out:" in shown.page.evaluate("document.querySelector('.rollouts').textContent")


def test_a_reader_chooses_dashboard_range_and_filter_and_the_address_keeps_them(watched: Operated) -> None:
    with watched.page("/admin/dashboards?refresh=0") as shown:
        there(shown, len(drawn(watched, "overview")))
        choose(shown, "Range", "6h")
        shown.page.until("location.search.includes('range=6h')")
        settled(shown)
        choose(shown, "Job", "ray")
        shown.page.until("decodeURIComponent(location.search).includes('filter[job]=ray')")
        settled(shown)
        shown.there("[aria-labelledby=panel-requests-by-outcome] .empty", "There is no data in this range.")
        shown.page.settle()
        asked = [url for url in shown.page.requests if "/v1/admin/dashboards/overview" in url]
        assert "range=6h" in asked[-1]
        choose(shown, "Dashboard", "models")
        there(shown, len(drawn(watched, "models")))
        address = shown.page.evaluate("decodeURIComponent(location.search)")
        assert "dashboard=models" in address
        assert "range=6h" in address
        assert "filter" not in address
        shown.page.evaluate("history.back()")
        there(shown, len(drawn(watched, "overview")))


def choose(shown: Shown, label: str, value: str) -> None:
    """Chooses by the label of a field."""
    id = f"[...document.querySelectorAll('.filters label')].find((one) => one.textContent === '{label}').htmlFor"
    shown.page.choose(f"[id='{shown.page.evaluate(id)}']", value)


def test_a_dashboard_refreshes_itself_and_when_it_is_asked_to(watched: Operated) -> None:
    with watched.page("/admin/dashboards?dashboard=gpus&refresh=0") as shown:
        there(shown, len(drawn(watched, "gpus")))
        before = len(requests(shown, watched))
        press(shown, ".filters", "Refresh now")
        shown.page.until("document.querySelector('.dashboard[aria-busy=false]') !== null")
        eventually(lambda: len(requests(shown, watched)) == before + 2, "both answers are asked for again")


def test_a_filter_that_no_series_has_can_be_cleared(watched: Operated) -> None:
    with watched.page("/admin/dashboards?refresh=0&filter[job]=none") as shown:
        shown.there("main .error", "No series of the range has this value of job")
        press(shown, "main", "Clear the filters")
        there(shown, len(drawn(watched, "overview")))


def test_firing_alerts_lead_to_their_runbooks(watched: Operated) -> None:
    firing = [each for each in watched.get("/v1/admin/alerts")["data"] if each["runbook"]]
    with watched.page("/admin/alerts") as shown:
        shown.there(".alerts", firing[0]["id"])
        settled(shown)
        assert shown.count("main img") == 0
        assert HOSTILE in shown.text(".alerts")
        shown.click(f".alerts a[href$='={firing[0]['id']}']")
        shown.there(".runbook h3", "What it means")
        alert = watched.get(f"/v1/admin/alerts/{firing[0]['id']}")
        assert alert["expression"] in shown.page.evaluate("document.querySelector('main details').textContent")
        assert shown.count(".runbook h3") == alert["runbook"].count("\n## ") + 1
        assert shown.count(".runbook pre") == alert["runbook"].count("\n```") // 2
        shown.click("main .facts a")
        shown.there("h1", "Dashboards")
        assert f"dashboard={alert['dashboard']}" in shown.page.evaluate("location.search")


def test_a_runbook_links_to_another_one_inside_the_console(watched: Operated) -> None:
    with watched.page("/admin/alerts?alert=EngineErrors") as shown:
        shown.there(".runbook a")
        href = shown.page.evaluate("[...document.querySelectorAll('.runbook a')].at(-1).getAttribute('href')")
        shown.click(".runbook a")  # the last one
        shown.there("h2", href.rpartition("=")[2])


def test_the_address_in_an_alert_leads_to_its_runbook(watched: Operated) -> None:
    """As an alert's annotation has it: the address of the stack's runbooks, and the name of a file."""
    with watched.page("/admin/runbooks/EngineErrors.md") as shown:
        shown.there("h1", "Alerts")
        shown.there("main h2", "EngineErrors")
        shown.there(".runbook h3", "What it means")
        shown.click("main .facts a")
        shown.there("h1", "Dashboards")
    with watched.page("/admin/runbooks/NoSuchAlert.md") as shown:
        shown.there("main .error")


def test_a_stack_without_prometheus_says_so(operated: Operated) -> None:
    for view in ("dashboards", "alerts"):
        with operated.page(f"/admin/{view}") as shown:
            shown.there("main", "This stack has no Prometheus")


def test_metrics_are_the_platforms(operated: Operated) -> None:
    for view in ("dashboards", "alerts"):
        with operated.page(f"/admin/{view}", key=operated.key("olga", role="operator")) as shown:
            shown.there("main", "This view needs the scope platform")
            assert requests(shown, operated) == []


@pytest.mark.parametrize("language", ["en", pytest.param("ar", marks=pytest.mark.full)])
@pytest.mark.parametrize("view", ["dashboards", "dashboards?dashboard=objectives", "alerts", "alerts?alert=GcsDown"])
def test_axe_finds_nothing(watched: Operated, axe: str, view: str, language: str) -> None:
    with watched.page(f"/admin/{view}", language=language) as shown:
        shown.there({"d": ".metric", "a": ".runbook, .alerts"}[view[0]])
        settled(shown)
        shown.page.evaluate("for (const each of document.querySelectorAll('main details')) each.open = true")
        for width in (1280, 360):
            shown.page.size(width, 900)
            clean(shown, axe)
        label = "dashboards" if view[0] == "d" else "alerts"
        assert shown.text("h1") == texts(language, "console")[label]


def test_values_read_from_left_to_right_in_arabic_too(watched: Operated) -> None:
    with watched.page("/admin/dashboards?refresh=0", language="ar") as shown:
        there(shown, len(drawn(watched, "overview")))
        script = "[...new Set([...document.querySelectorAll('{}')].map((one) => getComputedStyle(one).direction))]"
        assert shown.page.evaluate(script.format(".stat b, .legend b, .metric h3")) == ["ltr"]
        assert shown.page.evaluate(script.format("h1")) == ["rtl"]


def test_firing_alerts_are_counted_in_the_overview_and_say_what_and_since_when(watched: Operated) -> None:
    with watched.page("/admin/overview") as shown:
        shown.there(".tile a[href='/admin/alerts?severity=ticket'] b")
        shown.click(".tile a[href='/admin/alerts?severity=ticket']")
        shown.there(".alerts .instances time")
        states = "[...new Set([...document.querySelectorAll('.alerts .state')].map((one) => one.textContent))]"
        assert shown.page.evaluate(states) == ["ticket"]
        assert "{{" not in shown.text(".alerts")
