"""A real Prometheus, fed with what every program prints, has an answer for every rule and every panel."""

import math
import time

import pytest

from tests.unit.monitoring.loaded import QUERIES, loaded

WITHIN_S = 60


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
