"""A real Prometheus, fed with what every program prints, has an answer for every rule and every panel."""

import math
import time

import pytest

from tests.contract.monitoring.loaded import QUERIES, loaded
from tests.stacks.monitored import ask, finite
from tests.wait import eventually

WITHIN_S = 240


@pytest.fixture(scope="module")
def prometheus():
    with loaded() as server:
        yield server


def test_every_rule_and_every_panel_finds_something(prometheus):
    waiting, until = {query: [] for query in QUERIES}, time.monotonic() + WITHIN_S
    while waiting and time.monotonic() < until:
        for query in list(waiting):
            waiting[query] = prometheus.values(query)
            if waiting[query] and all(math.isfinite(value) for value in waiting[query]):
                del waiting[query]
        time.sleep(0.2)
    assert not waiting, "\n".join(f"{query}: {values or 'nothing'}" for query, values in waiting.items())
    assert [rule["lastError"] for rule in prometheus.rules() if rule.get("health") == "err"] == []


def test_prometheus_scrapes_a_running_stack(prometheus):
    """`$model` stands for all, a given variable for itself; an answer over time has a value for each step."""
    url = str(prometheus.http.base_url).removesuffix("/api/v1/")
    name = 'headrace_engine_up{model=~"$model",job=~"$job"}'
    found = eventually(lambda: finite(asked := ask(url, name, job="headrace")) and asked, "an answer")
    assert {sample.labels["job"] for sample in found} == {"headrace"}
    assert ask(url, name, job="none") == []
    assert all(len(sample.values) > 1 for sample in ask(url, f"{name} or vector(0)", over_s=10, step_s=1))
    assert ask(url, "scalar(vector(1)/0)")[0].values == (math.inf,)
    with pytest.raises(AssertionError, match="parse error"):
        ask(url, "sum(")
