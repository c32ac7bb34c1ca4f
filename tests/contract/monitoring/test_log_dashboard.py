"""The dashboard of the log: its queries are LogQL by Grafana's grammar, over fields that lines have."""

from __future__ import annotations

import json
import logging
import re

import pytest

from monitoring.dashboards import log
from monitoring.output_files import output_files
from serving.api import request_log
from serving.api.http_exchange import HttpExchange
from serving.telemetry.logs import JsonFormatter
from tests.monitoring import dashboard_lint
from tests.monitoring.logql_grammar import mistakes

QUERIES = [panel.query.replace("$__auto", "1m") for panel in log.PANELS]


def line() -> dict[str, object]:
    """The line of a request, as a gateway writes it."""
    found: list[dict[str, object]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JsonFormatter({}).format(record)))

    handler = Kept()
    request_log.log.addHandler(handler)
    before = request_log.log.level
    request_log.log.setLevel(logging.INFO)
    try:
        request_log.write(HttpExchange("r", None, None))
    finally:
        request_log.log.removeHandler(handler)
        request_log.log.setLevel(before)
    return found[0]


def test_every_query_is_valid():
    assert mistakes(QUERIES) == [[] for _ in QUERIES]


@pytest.mark.parametrize(
    "query", ['{job="a"} | jsn |', 'sum(count_over_time({job="a"}))', '{job=~"a"} |= json', "rate(up[1m])"]
)
def test_the_grammar_finds_what_is_wrong(query):
    [found] = mistakes([query])
    assert found


def test_queries_read_fields_of_the_line_alone():
    known = set(line())
    for panel in log.PANELS:
        compared = re.findall(r"\| (\w+) ?(?:=~|!=|=|>)", panel.query)
        shown = re.findall(r"\{\{\.(\w+)\}\}", panel.query)
        by = re.findall(r"by \((\w+)\)", panel.query)
        assert {*compared, *shown, *by} <= known, panel.title
    assert line()["message"] == "request"


def test_the_dashboard_passes_the_linter_and_is_written():
    made = json.loads(output_files()["dashboards/log.json"])
    assert dashboard_lint.findings(made) == []
    assert [panel["targets"][0]["expr"] for panel in made["panels"]] == [panel.query for panel in log.PANELS]
    assert {panel["type"] for panel in made["panels"]} == {"logs", "timeseries"}
    [source] = [each for each in made["templating"]["list"] if each["type"] == "datasource"]
    assert source["query"] == "loki"
    assert {panel["datasource"]["uid"] for panel in made["panels"]} == {f"${{{source['name']}}}"}
    assert made["tags"] == json.loads(output_files()["dashboards/overview.json"])["tags"]
    assert "perses/log.json" not in output_files()
