"""The page `/status` over a real Prometheus: every panel has an answer, and nothing but panels is asked."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from threading import Thread

import httpx
import pytest
from starlette.testclient import TestClient

from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.panel import Panel, Target
from monitoring.status import __main__ as command
from monitoring.status import page, runbook
from monitoring.status.answer import legend, panel_answer
from monitoring.status.app import application
from monitoring.status.assets import STATIC
from monitoring.status.problem import Problem
from monitoring.status.prometheus import MOST_SERIES, Prometheus
from monitoring.status.selection import fill_variables
from monitoring.status.window import WINDOWS
from tests.contract.monitoring.exposition import JOBS
from tests.contract.monitoring.loaded import ODD, loaded
from tests.npm import node
from tests.wait import eventually

HOME = "http://127.0.0.1"
MODELS = page.BY_NAME["models"]
UP = 'up{job=~"$job",instance=~"$instance",model=~"$model"}'
PANELS = [(dashboard.name, id) for dashboard in DASHBOARDS for id in page.panels(dashboard)]


@pytest.fixture(scope="module")
def prometheus():
    with loaded() as server:
        eventually(lambda: len(server.values("up")) > len(JOBS), "every target is scraped", 60)
        yield server


@pytest.fixture(scope="module")
def status(prometheus):
    with TestClient(application(Prometheus(prometheus.url)), HOME) as client:
        yield client


def without(url, timeout_s=5.0):
    """The page over something that is not a working Prometheus."""
    return TestClient(application(Prometheus(url, timeout_s)), HOME)


def error(answer):
    """What the panel would say, which is one line."""
    message = answer.json()["error"]
    assert "\n" not in message
    return message


def answered(status, path, **params):
    """What the page answers, or nothing where Prometheus was late: on a busy machine one query of many may be."""
    answer = status.get(f"/status/api/{path}", params=params)
    if answer.status_code == 504:
        return None
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def certain(status, path, **params):
    return eventually(lambda: answered(status, path, **params), f"an answer of {path}")


def test_every_panel_of_every_dashboard_shows_something(status):
    waiting = set(PANELS)

    def shown():
        for each in list(waiting):
            answer = answered(status, "/".join(each), range="15m")
            if answer and (answer.get("series") or answer.get("rows")):
                waiting.discard(each)
        return not waiting

    eventually(shown, "every panel has data", 300)


@pytest.mark.parametrize("range", WINDOWS)
def test_points_of_all_series_share_their_times(status, range):
    drawn = certain(status, "overview/requests-by-outcome", range=range)
    times = drawn["times"]
    assert times[-1] - times[0] <= WINDOWS[range].seconds
    assert {b - a for a, b in pairwise(times)} == {WINDOWS[range].step}
    assert len(times) <= 301
    assert {len(one["values"]) for one in drawn["series"]} <= {len(times)}


def test_variables_offer_existing_values_and_narrow_each_other(status):
    def offered(**chosen):
        return certain(status, "models", **chosen)["variables"]

    assert {"headrace", "ray"} <= set(offered()["job"])
    assert offered()["model"]
    assert offered(**{"var-job": "ray"})["model"] == []


def test_selections_filter_the_panels(status):
    def shown(**chosen):
        return certain(status, "overview/requests-by-outcome", **chosen)["series"]

    eventually(shown, "requests are counted", 60)
    assert shown(**{"var-job": "headrace"})
    assert shown(**{"var-job": ["ray", "headrace"]})
    assert shown(**{"var-job": "ray"}) == []
    assert shown(**{"var-job": "headrac."}) == []


@pytest.mark.parametrize(
    ("values", "count"),
    [([ODD], 1), (["no-such-model", ODD], 1), (["a.*"], 0), ([ODD + "x"], 0), (['"} or vector(1) or up{model=~"'], 0)],
)
def test_a_label_value_is_only_a_value(prometheus, values, count):
    asked = fill_variables(UP, MODELS, {"model": values}, WINDOWS["1h"])
    assert len(prometheus.values(asked)) == count


def test_no_selection_shows_everything_in_the_range():
    asked = fill_variables("rate(x[$__rate_interval])+$__range+$__interval", MODELS, {}, WINDOWS["24h"])
    assert asked == "rate(x[315s])+86400s+300s"
    assert fill_variables(UP, MODELS, {}, WINDOWS["1h"]) == 'up{job=~".+",instance=~".+",model=~".*"}'


def test_variables_stand_in_quotes_behind_a_regular_expression_and_nowhere_else():
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for target in panel.targets:
                bare = re.sub(r'=~"\$\w+"', "", target.expression)
                assert set(re.findall(r"\$\{?(\w+)", bare)) <= {"__rate_interval", "__interval", "__range"}, target


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("nope/requests", 404, "there is no dashboard 'nope'; there are overview, models"),
        ("overview/nope", 404, "the dashboard overview has no panel 'nope'"),
        ("overview/requests?range=9m", 400, "there is no range '9m'; there are 15m, 1h"),
        (
            "overview/requests?var-model=x",
            400,
            "this dashboard has no variable 'model'; it has namespace, job, instance",
        ),
        ("overview/requests?query=up", 400, "unknown parameter 'query'"),
        (f"overview/requests?var-job={'x' * 2000}", 400, "job: choose at most"),
        ("overview/requests/more", 404, "this page does not exist"),
    ],
)
def test_missing_data_is_reported_in_one_line(status, path, code, message):
    answer = status.get(f"/status/api/{path}")
    assert answer.status_code == code
    assert message in error(answer)


def test_alerts_that_fire_lead_to_their_runbooks(status):
    def ours():
        answer = answered(status, "alerts")
        return answer and [one["name"] for one in answer["alerts"] if one["known"]]

    name, *_ = eventually(ours, "an alert fires")
    text = status.get(f"/status/alerts/{name}").text
    assert f"<h1>{name}</h1>" in text
    assert "What to do" in text
    assert status.get("/status/alerts/nope").status_code == 404


def test_many_firing_alerts_are_counted(prometheus, status):
    many = MOST_SERIES + 1
    rows = prometheus.world.families["ALERTS"].rows
    labels = {"alertname": "Crowd", "alertstate": "firing", "severity": "ticket"}
    added = [frozenset({**labels, "owner": f"owner-{i}"}.items()) for i in range(many)]
    rows.update(dict.fromkeys(added, 1.0))

    def counted():
        answer = answered(status, "alerts")
        return answer and [one for one in answer["alerts"] if one["name"] == "Crowd"]

    try:
        crowd = eventually(counted, "the crowd fires")
        assert crowd == [{"name": "Crowd", "severity": "ticket", "count": many, "known": False}]
    finally:
        for row in added:
            del rows[row]
        eventually(lambda: counted() == [], "the crowd is gone")


async def test_rejected_queries_are_reported(prometheus):
    broken = Panel("Broken", "It is broken.", "1", (Target("sum(", "x"),))
    asked = Prometheus(prometheus.url)
    with pytest.raises(Problem, match=r"Prometheus rejected the query: .*parse error") as raised:
        await panel_answer(asked, MODELS, broken, {}, WINDOWS["1h"], time.time())
    await asked.close()
    assert raised.value.status == 502


def test_an_unreachable_prometheus_is_reported(closed_port):
    url = f"{HOME}:{closed_port}"
    with without(url) as client:
        for path in ("overview/requests", "overview/firing-alerts", "overview", "alerts"):
            answer = client.get(f"/status/api/{path}")
            assert answer.status_code == 502
            assert error(answer).startswith(f"Prometheus at {url} does not answer: ")
        assert client.get("/status").status_code == 200
        assert client.get("/status/healthz").status_code == 200


def test_a_hanging_prometheus_times_out():
    with socket.create_server(("127.0.0.1", 0)) as silent, without(f"{HOME}:{silent.getsockname()[1]}", 0.1) as client:
        answer = client.get("/status/api/overview/requests")
    assert answer.status_code == 504
    assert error(answer) == "Prometheus did not answer within 0.1 s; choose a shorter range"


@pytest.mark.parametrize(
    "body", ["<html>", '{"alive": true}', "[]", '{"status": "success"}', '{"status": "success", "data": {}}']
)
def test_other_servers_are_not_mistaken_for_prometheus(body):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        with without(f"{HOME}:{server.server_address[1]}") as client:
            answer = client.get("/status/api/overview/requests")
        server.shutdown()
        thread.join()
    assert answer.status_code == 502
    assert "is not Prometheus (HTTP 200)" in error(answer)
    assert "content-security-policy" in answer.headers


@pytest.mark.parametrize(
    "path", ["/status", "/status/models", "/status/alerts/GcsDown", "/status/static/status.js", "/x"]
)
@pytest.mark.parametrize(("host", "taken"), [("localhost:1", True), ("[::1]:1", True), ("rebound.example", False)])
def test_another_sites_name_is_refused_and_every_answer_is_fenced_in(status, path, host, taken):
    answer = status.get(path, headers={"host": host})
    assert (answer.status_code != 400) == taken
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("name", ["", *(f"/{dashboard.name}" for dashboard in DASHBOARDS)])
def test_pages_keep_to_their_policy_and_have_their_panels(status, name):
    text = status.get(f"/status{name}").text
    assert not re.search(r"<script(?![^>]* src=\"/status/)|<style|\sstyle=|\son\w+=|javascript:|https?://", text)
    for file in re.findall(r'(?:src|href)="(/status/static/[^"]+)"', text):
        assert status.get(file).status_code == 200, file
    titles = re.findall(r'data-panel="([^"]*)" data-state="loading"', text)
    shown = page.BY_NAME[name[1:] or "overview"]
    assert titles == [panel.title for panel in shown.panels][: len(titles)]
    assert len(titles) == (len(shown.panels) if name else 20)


def test_every_panel_has_its_own_url():
    for dashboard in DASHBOARDS:
        assert len(page.panels(dashboard)) == len(dashboard.panels)
    assert not page.BY_NAME.keys() & {"alerts", "api", "static", "healthz"}


def test_the_browser_knows_every_width_and_unit():
    style, units = (STATIC / "status.css").read_text(), (STATIC / "units.js").read_text()
    formats = units.partition("const FORMATS")[2].partition("};")[0]
    for panel in (panel for dashboard in DASHBOARDS for panel in dashboard.panels):
        assert f'[data-width="{panel.width}"]' in style or panel.width == 8
        assert re.search(rf'^  "?{re.escape(panel.unit)}"?: ', formats, re.MULTILINE), panel.unit


SAID = [
    ("seconds", 0, "0 s"),
    ("seconds", 0.00042, "420 µs"),
    ("seconds", 0.25, "250 ms"),
    ("seconds", 90, "1.5 min"),
    ("seconds", 259_200, "3 d"),
    ("bytes", 1536, "1.5 KiB"),
    ("bytes/s", 3 * 1024**2, "3 MiB/s"),
    ("megabytes", 2048, "2 GiB"),
    ("ratio", 0.142857, "14.3%"),
    ("percent", 64.31, "64.3%"),
    ("currency", 1234.5, "1,234.50"),
    ("currency", 0.00042, "0.00042"),
    ("celsius", 58, "58 °C"),
    ("watts", 1400, "1.4 kW"),
    ("1", 12_345, "12.3 k"),
    ("1", -3, "-3"),
    ("requests/s", 0.678, "0.678 req/s"),
    ("tokens/s", 2500, "2.5 k tokens/s"),
    ("operations/s", None, "–"),
]


def test_numbers_have_the_panels_unit():
    asked = f"console.log(JSON.stringify({json.dumps(SAID)}.map(([unit, value]) => said(unit, value))))"
    done = subprocess.run(
        [node.program("node"), "--input-type=module"],
        input=f"{(STATIC / 'units.js').read_text()}\n{asked}",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [text for *_, text in SAID]


def test_runbooks_are_pages_and_link_to_pages():
    for name in page.ALERTS:
        text = runbook.html(name)
        for target in re.findall(r'href="([^"]*)"', text):
            known = target.removeprefix("/status/alerts/") in page.ALERTS
            assert known or target.startswith("https://"), f"{name} links to {target}"
        assert "<h2>" in text
    assert "<script" not in runbook.html("GcsDown")


@pytest.mark.parametrize(
    ("template", "labels", "name"),
    [("{{a}} {{b}}", {"a": "x"}, "x"), ("", {"__name__": "up", "a": "x"}, "a=x"), ("{{a}}", {}, "value")],
)
def test_a_series_has_a_name_in_any_case(template, labels, name):
    assert legend(template, labels) == name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prometheus", "localhost:9090"], "is not an HTTP URL"),
        (["--prometheus", "http://me:secret@x:1"], "the URL must not have a user, password, query or fragment"),
        (["--prometheus", HOME, "--host", "0.0.0.0"], "'0.0.0.0' is not a loopback address"),
        (["--prometheus", HOME, "--port", "70000"], "'70000' is not a port"),
        ([], "required: --prometheus"),
    ],
)
def test_invalid_arguments_are_reported(capsys, arguments, said):
    with pytest.raises(SystemExit):
        command.main(arguments)
    last = capsys.readouterr().err.splitlines()[-1]
    assert said in last
    assert "secret" not in last


def test_a_taken_port_is_reported(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert command.main(["--prometheus", HOME, "--port", port]) == 1
    assert capsys.readouterr().err == f"status: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_the_process_prints_its_url_and_stops_on_sigterm():
    argv = [sys.executable, "-m", "monitoring.status", "--prometheus", HOME, "--port", "0"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stderr.readline().removeprefix("status: ").strip()
            assert httpx.get(f"{address}/healthz", timeout=60, trust_env=False).status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            rest = process.stderr.read()
    assert rest == ""
