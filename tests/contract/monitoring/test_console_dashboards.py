"""The console's routes over a real Prometheus: every panel has data, and nothing but panels is evaluated."""

import json
import math
import re
import socket
import time
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise
from threading import Thread

import httpx
import pytest
from prometheus_client import REGISTRY

from monitoring.dashboards import DASHBOARDS
from monitoring.groups import GROUPS
from monitoring.rule import Alert
from serving.config import Catalog, PrometheusServer, RemoteModel
from serving.core.principal import Principal
from serving.telemetry.dashboards.board import dashboards
from serving.telemetry.dashboards.evaluate import Series, apart, legend
from serving.telemetry.dashboards.filters import RANGES, fill_variables
from serving.telemetry.dashboards.firing import INSTANCES
from serving.telemetry.dashboards.prometheus import MAX_SERIES, PrometheusClient, QueryFailed
from tests.callers.identity import key_of
from tests.contract.monitoring.exposition import ANY, JOBS
from tests.contract.monitoring.loaded import ODD, loaded
from tests.contract.running import Loop, gateway
from tests.wait import eventually

HOME = "http://127.0.0.1"
MODELS = dashboards()["models"]
UP = 'up{job=~"$job",instance=~"$instance",model=~"$model"}'
ALERTS = {rule.name: rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}


@pytest.fixture(scope="module")
def prometheus():
    with loaded() as server:
        eventually(lambda: len(server.values("up")) > len(JOBS), "every target is scraped", 60)
        yield server


@pytest.fixture(scope="module")
def loop():
    with Loop() as made:
        yield made


@pytest.fixture(scope="module")
def up(prometheus, loop, tmp_path_factory):
    server = PrometheusServer(url=prometheus.url)
    with gateway(loop, tmp_path_factory.mktemp("gateway"), Catalog(), prometheus=server) as made:
        yield made


@pytest.fixture(scope="module")
def operator(up):
    with up.client("/v1/admin") as client:
        yield client


@pytest.fixture
def asking(loop, tmp_path):
    """Makes a client of a gateway that asks another Prometheus."""
    with ExitStack() as stack:

        def make(url, *, namespace="", timeout_s=5.0):
            server = PrometheusServer(url=url, namespace=namespace)
            up = stack.enter_context(gateway(loop, tmp_path, Catalog(), prometheus=server))
            up.services.prometheus._timeout_s = timeout_s
            return stack.enter_context(up.client("/v1/admin"))

        yield make


def answered(operator, path, **params):
    """An answer, or nothing where Prometheus was late: on a busy machine one query of many may be."""
    answer = operator.get(path, params=params)
    if answer.status_code == 503 and "did not answer in" in answer.text:
        return None
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def certain(operator, path, **params):
    return eventually(lambda: answered(operator, path, **params), f"an answer of {path}")


def panels(answer):
    return {panel["id"]: panel for row in answer["rows"] for panel in row["panels"]}


def error(answer):
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["param"]


def test_the_list_and_each_dashboard_are_those_of_the_monitoring(operator):
    listed = operator.get("/dashboards").json()["data"]
    assert [each["id"] for each in listed] == [dashboard.name for dashboard in DASHBOARDS]
    for dashboard in DASHBOARDS:
        given = dashboards()[dashboard.name]
        assert [(p.title, p.unit, p.kind) for p in given.panels] == [
            (p.title, p.unit, p.kind) for p in dashboard.panels
        ]
        assert [t.expression for p in given.panels for t in p.targets] == [
            t.expression for p in dashboard.panels for t in p.targets
        ]
        assert len({panel.id for panel in given.panels}) == len(given.panels)


@pytest.mark.parametrize("dashboard", [dashboard.name for dashboard in DASHBOARDS])
def test_every_panel_shows_something(operator, dashboard):
    waiting = {panel.id for panel in dashboards()[dashboard].panels}

    def shown():
        drawn = panels(answered(operator, f"/dashboards/{dashboard}", range="15m") or {"rows": []})
        for id, panel in drawn.items():
            assert panel["error"] is None or "did not answer in" in panel["error"], (id, panel["error"])
            if panel["series"] or panel["rows"]:
                waiting.discard(id)
        return not waiting

    eventually(shown, f"every panel has data: {dashboard}", 300)


def test_a_heatmap_has_the_count_of_each_bucket_from_the_lowest_to_the_highest():
    counts = {"+Inf": [6, 7, 2], "0.5": [1, None, 1], "10.0": [6, 5, 1.000001]}
    found = apart([Series(name, values) for name, values in counts.items()])
    assert [(one.name, one.values) for one in found] == [
        ("0.5", [1, None, 1]),
        ("10.0", [5, None, 1e-06]),
        ("+Inf", [0, 2, 0.999999]),
    ]
    assert apart([Series("1.0", [2]), Series("+Inf", [1.9])])[1].values == [0]


def test_a_heatmap_is_read_from_prometheus(operator):
    def heatmap():
        drawn = panels(answered(operator, "/dashboards/models", range="15m") or {"rows": []})
        shown = drawn.get("distribution-of-the-time-to-first-token", {"series": []})["series"]
        return shown if any(value for one in shown for value in one["values"]) else None

    shown = eventually(heatmap, "the heatmap has cells", 300)
    bounds = [float(one["name"]) for one in shown]
    assert bounds == sorted(bounds)
    assert bounds[-1] == math.inf
    assert all(value is None or value >= 0 for one in shown for value in one["values"])


def test_a_rollout_is_marked_with_the_part_that_changed(prometheus, operator):
    rows = prometheus.world.families["headrace_deployed_hash"].rows
    [before] = [row for row in rows if dict(row)["part"] == ANY]
    code, configuration = (frozenset({"part": part}.items()) for part in ("code", "configuration"))

    def marked():
        drawn = answered(operator, "/dashboards/overview", range="15m") or {"rollouts": []}
        return [each["parts"] for each in drawn["rollouts"]]

    try:
        rows.update({code: float(2**47 + 1), configuration: 1.0})
        eventually(lambda: len(prometheus.values("headrace_deployed_hash")) > 2, "both parts are scraped")
        assert marked() == []
        rows[code] += 1  # 6 digits would not tell them apart
        eventually(lambda: marked() == [["code"]], "the code is marked", 60)
        rows[configuration] = 2.0
        eventually(lambda: marked() == [["code"], ["configuration"]], "the configuration is marked", 60)
    finally:
        del rows[code], rows[configuration]
    assert before in rows


def test_a_gateway_reports_what_it_serves(up):
    def reported():
        return REGISTRY.get_sample_value("headrace_deployed_hash", {"part": "configuration"})

    first = reported()
    other = Catalog(models=(RemoteModel(name="m", url="http://127.0.0.1:9/v1"),))
    up.loop.loop.call_soon_threadsafe(up.services.configure, other)
    eventually(lambda: reported() != first, "another configuration")
    up.loop.loop.call_soon_threadsafe(up.services.configure, Catalog())
    eventually(lambda: reported() == first, "the first one")


@pytest.mark.parametrize("range", RANGES)
def test_points_of_all_series_share_their_times(operator, range):
    drawn = certain(operator, "/dashboards/overview", range=range)
    assert (drawn["range"], drawn["step"]) == (range, RANGES[range].step)
    count = RANGES[range].seconds // RANGES[range].step + 1
    assert count <= 301
    lengths = {len(one["values"]) for panel in panels(drawn).values() for one in panel["series"]}
    assert lengths == {count}


def test_filters_offer_existing_values_and_narrow_each_other(operator):
    def offered(**chosen):
        drawn = certain(operator, "/dashboards/models", **{f"filter[{k}]": v for k, v in chosen.items()})
        return {each["name"]: each for each in drawn["filters"]}

    assert {"headrace", "ray"} <= set(offered()["job"]["values"])
    assert offered()["model"]["values"]
    ray = offered(job="ray")
    assert (ray["job"]["value"], ray["model"]["value"], ray["model"]["values"]) == ("ray", None, [])


def test_filters_apply_to_the_panels(operator):
    def series(**chosen):
        return panels(certain(operator, "/dashboards/overview", **chosen))["requests-by-outcome"]["series"]

    eventually(series, "requests are counted", 60)
    assert series(**{"filter[job]": "headrace"})
    assert series(**{"filter[job]": "ray"}) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("job", "headrac."), ("job", '"} or vector(1) or up{job=~"'), ("job", ".*"), ("model", "none such")],
)
def test_a_value_that_no_series_has_is_refused(operator, name, value):
    answer = operator.get("/dashboards/models", params={f"filter[{name}]": value})
    assert error(answer) == (400, "invalid_value", f"filter[{name}]")


@pytest.mark.parametrize(
    ("value", "count"), [(ODD, 1), ("a.*", 0), (ODD + "x", 0), ('"} or vector(1) or up{model=~"', 0)]
)
def test_a_label_value_is_only_a_value(prometheus, value, count):
    assert len(prometheus.values(fill_variables(UP, MODELS, {"model": value}, RANGES["1h"]))) == count


def test_no_selection_shows_everything_in_the_range():
    filled = fill_variables("rate(x[$__rate_interval])+$__range+$__interval", MODELS, {}, RANGES["24h"])
    assert filled == "rate(x[315s])+86400s+300s"
    assert fill_variables(UP, MODELS, {}, RANGES["1h"]) == 'up{job=~".+",instance=~".+",model=~".*"}'


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/dashboards/nope", (404, "not_found", None)),
        ("/dashboards/overview?range=9m", (400, "invalid_value", "range")),
        ("/dashboards/overview?filter[model]=x", (400, "invalid_value", "filter")),
        ("/dashboards/overview?filter=x", (400, "invalid_value", "filter")),
        ("/dashboards/overview?filter[job]=", (400, "invalid_value", "filter[job]")),
        (f"/dashboards/overview?filter[job]={'x' * 1025}", (400, "invalid_value", "filter[job]")),
        ("/dashboards/overview?filter[job]=ray&filter[job]=headrace", (400, "invalid_value", "filter[job]")),
        ("/alerts/nope", (404, "not_found", None)),
    ],
)
def test_a_wrong_request_is_refused(operator, path, expected):
    assert error(operator.get(path)) == expected


def test_a_query_of_the_caller_is_never_evaluated(operator):
    plain = certain(operator, "/dashboards/overview", range="15m")
    asked = certain(operator, "/dashboards/overview", range="15m", query="up", expression="up", expr="up")
    assert [*panels(plain)] == [*panels(asked)]
    assert "expression" not in json.dumps(plain)


def test_operators_of_one_tenant_see_no_metrics(up):
    key = up.loop.do(key_of(up.services, Principal("acme", "boss", ""), role="admin"))
    with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
        for path in ("dashboards", "dashboards/overview", "alerts", "alerts/GcsDown"):
            answer = client.get(f"/v1/admin/{path}")
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")


def test_alerts_that_fire_are_listed_with_what_they_mean(operator):
    def ours():
        listed = answered(operator, "/alerts")
        return listed and [each for each in listed["data"] if each["id"] in ALERTS]

    found = eventually(ours, "an alert fires")
    for alert in found:
        assert alert["runbook"]
        assert 1 <= len(alert["instances"]) <= min(alert["count"], INSTANCES)
        for one in alert["instances"]:
            assert "{{" not in one["summary"], one
            pattern = re.split(r"\{\{.*?\}\}", ALERTS[alert["id"]].summary)
            assert re.fullmatch(".*".join(map(re.escape, pattern)), one["summary"], re.DOTALL), one
            assert 0 < one["since"] <= time.time()
    ranks = [("page", "ticket", "info").index(each["severity"]) for each in found]
    assert ranks == sorted(ranks)


def test_many_firing_alerts_are_counted(prometheus, operator):
    many = MAX_SERIES + 1
    rows = prometheus.world.families["ALERTS"].rows
    labels = {"alertname": "Crowd", "alertstate": "firing", "severity": "ticket"}
    added = [frozenset({**labels, "owner": f"owner-{i}"}.items()) for i in range(many)]
    rows.update(dict.fromkeys(added, 1.0))

    def counted():
        listed = answered(operator, "/alerts")
        return listed and [each for each in listed["data"] if each["id"] == "Crowd"]

    try:
        crowd = eventually(counted, "the crowd fires")
        assert crowd == [
            {
                "id": "Crowd",
                "object": "alert.firing",
                "severity": "ticket",
                "count": many,
                "instances": [{"summary": None, "since": None}],
                "runbook": False,
            }
        ]
    finally:
        for row in added:
            del rows[row]
        eventually(lambda: counted() == [], "the crowd is gone")


def test_an_alert_that_only_queries_know_is_filled_from_its_labels(prometheus, operator):
    """As with a server that answers queries and evaluates no rules."""
    labels = {"alertname": "EventLoopLate", "alertstate": "firing", "severity": "remote", "deployment": "gateway"}
    firing = frozenset(labels.items())
    alerts = prometheus.world.families["ALERTS"].rows
    alerts[firing] = 1.0

    def found():
        listed = answered(operator, "/alerts")
        return listed and [each for each in listed["data"] if each["severity"] == "remote"]

    try:
        [late] = eventually(found, "it fires")
        summary = "Event loops of gateway were blocked for over 1 s … times"
        assert late["instances"] == [{"summary": summary, "since": None}]
    finally:
        del alerts[firing]
        eventually(lambda: found() == [], "it is gone")


def test_every_alert_has_its_runbook(operator):
    for name in ALERTS:
        alert = operator.get(f"/alerts/{name}").json()
        assert alert["expression"] == ALERTS[name].expression
        assert "## What to do" in alert["runbook"]
        assert not alert["runbook"].startswith("# ")
        assert not re.search(r"\]\((?!\w+\.md\))", alert["runbook"]), "links lead to runbooks alone"
        assert set(re.findall(r"\]\((\w+)\.md\)", alert["runbook"])) <= ALERTS.keys()


def test_a_stack_sees_its_own_namespace_alone(prometheus, operator, asking):
    def running(client, **chosen):
        drawn = certain(client, "/dashboards/overview", range="15m", **chosen)
        (namespace,) = [each for each in drawn["filters"] if each["name"] == "namespace"]
        return namespace, panels(drawn)["in-flight-and-waiting"]["series"]

    rows = prometheus.world.families["headrace_requests_in_flight"].rows
    added = [row | {("namespace", "blue")} for row in rows]
    rows.update(dict.fromkeys(added, 1.0))
    blue = {"filter[namespace]": "blue"}
    try:
        eventually(lambda: "blue" in running(operator)[0]["values"], "another stack is scraped")
        eventually(lambda: running(operator, **blue)[1], "its series are drawn")
        client = asking(prometheus.url, namespace="red")
        namespace, series = running(client)
        assert (namespace["value"], namespace["values"]) == ("red", ["red"])
        assert series == []
        refused = client.get("/dashboards/overview", params={"range": "15m", **blue})
        assert error(refused) == (400, "invalid_value", "filter[namespace]")
    finally:
        for row in added:
            del rows[row]


def test_rejected_queries_and_too_many_series_are_reported(prometheus, loop):
    client = PrometheusClient(PrometheusServer(url=prometheus.url))
    (now,) = prometheus.values("floor(vector(time()))")
    for expression, message in (
        ("sum(", r"Prometheus rejects the query: .*parse error"),
        ('{__name__=~".+"}', "There are more than 100 series"),
    ):
        with pytest.raises(QueryFailed, match=message):
            loop.do(client.instant(expression, int(now)))
    loop.do(client.close())


def test_a_stack_without_prometheus_says_so(asking):
    client = asking("")
    for path in ("/dashboards/overview", "/alerts"):
        answer = client.get(path)
        assert error(answer) == (503, "unavailable", None)
        assert "This stack has no Prometheus" in answer.text
    assert client.get("/dashboards").status_code == 200
    assert client.get("/alerts/GcsDown").status_code == 200


def test_an_unreachable_prometheus_is_reported(asking, closed_port):
    client = asking(f"{HOME}:{closed_port}")
    for path in ("/dashboards/overview", "/alerts"):
        answer = client.get(path)
        assert error(answer) == (503, "unavailable", None)
        assert f"Prometheus at {HOME}:{closed_port} does not answer" in answer.text


def test_a_hanging_prometheus_times_out(asking):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        answer = asking(f"{HOME}:{silent.getsockname()[1]}", timeout_s=0.1).get("/dashboards/overview")
    assert error(answer) == (503, "unavailable", None)
    assert "Prometheus did not answer in 0.1 s" in answer.text


@pytest.mark.parametrize(
    "body", ["<html>", '{"alive": true}', "[]", '{"status": "success"}', '{"status": "success", "data": {}}']
)
def test_other_servers_are_not_mistaken_for_prometheus(asking, body):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_):
            """Says nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        client = asking(f"{HOME}:{server.server_address[1]}")
        answers = [client.get("/dashboards/overview"), client.get("/alerts")]
        server.shutdown()
        thread.join()
    for answer in answers:
        assert error(answer) == (503, "unavailable", None)
        assert "is no Prometheus" in answer.text


@pytest.mark.parametrize(
    ("template", "labels", "name"),
    [("{{route}} x", {"route": "/a"}, "/a x"), ("{{b}}", {"a": "1", "__name__": "up"}, "a=1"), ("", {}, "value")],
)
def test_series_have_names(template, labels, name):
    assert legend(template, labels) == name


def test_times_rise_by_the_step(operator):
    drawn = certain(operator, "/dashboards/overview", range="1h")
    times = [drawn["start"] + i * drawn["step"] for i in range(241)]
    assert {b - a for a, b in pairwise(times)} == {15}
    assert times[-1] - times[0] == 3600
