"""Metrics of requests in Prometheus: each request is counted once, and its stages add up."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from serving.telemetry.catalogue import CATALOGUE
from tests.wait import eventually

CHAT = {"model": "plain", "messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 12, "stream": True}
STREAMS = 12
FROM_DOCUMENTS = {**CHAT, "model": "docs", "messages": [{"role": "user", "content": "What does make up do?"}]}
CHATS, RESPONSES = "/v1/chat/completions", "/v1/responses"
OTHERS = (
    (CHATS, {**CHAT, "model": "smollm2", "stream": False}),
    (CHATS, FROM_DOCUMENTS),
    (CHATS, {**FROM_DOCUMENTS, "stream": False}),
    (RESPONSES, {"model": "plain", "input": "Name a colour.", "max_output_tokens": 16, "stream": True}),
)
"""Requests beside the streams that are counted: they go through other stages."""
JOBS = {"headrace", "ray", "haproxy"}
ENDPOINTS = {"exporter", "metrics", "haproxy"}


@pytest.fixture(scope="module")
def prometheus(stack):
    return stack.prometheus_url


@pytest.fixture(scope="module")
def query(prometheus):
    def ask(expression):
        data = (
            httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=30).raise_for_status().json()
        )
        return {tuple(sorted(r["metric"].items())): float(r["value"][1]) for r in data["data"]["result"]}

    return ask


def total(query, expression):
    return sum(query(expression).values())


def targets(prometheus):
    return httpx.get(f"{prometheus}/api/v1/targets", timeout=30).raise_for_status().json()["data"]["activeTargets"]


def scraped_again(prometheus):
    """Waits until every target was scraped after now."""
    now = datetime.now(UTC)
    eventually(
        lambda: all(t["health"] == "up" and datetime.fromisoformat(t["lastScrape"]) > now for t in targets(prometheus)),
        "a scrape of everything",
    )


COUNT = 'headrace_request_duration_seconds_count{route="/v1/chat/completions",model="smollm2",outcome="ok"}'


@pytest.fixture(scope="module")
def requests(stack, query, prometheus):
    """Makes the requests of this module, and waits until they were scraped."""
    with stack.client() as client:
        for path, body in OTHERS:
            assert client.post(path, json=body).is_success
        scraped_again(prometheus)  # these, and earlier requests of other tests, are scraped
        before = total(query, COUNT)
        for _ in range(STREAMS):
            answer = client.post("/v1/chat/completions", json=CHAT)
            assert answer.text.endswith("data: [DONE]\n\n")
    eventually(lambda: total(query, COUNT) - before >= STREAMS, "a scrape of every request")
    return before


def test_each_request_is_counted_once(requests, query, prometheus):
    scraped_again(prometheus)  # another scrape must not add anything
    assert total(query, COUNT) - requests == STREAMS


def test_every_target_is_up(requests, prometheus):
    # A scrape job on this host, an endpoint of the PodMonitor on a cluster.
    assert {t["labels"].get("endpoint", t["labels"]["job"]) for t in targets(prometheus)} in (JOBS, ENDPOINTS)
    # On a busy machine one scrape of many may be late.
    eventually(lambda: all(t["health"] == "up" for t in targets(prometheus)), "every target is up")


@pytest.mark.parametrize(("route", "passed"), [(CHATS, {"decode", "retrieve"}), (RESPONSES, {"decode"})])
def test_the_stages_add_up_to_the_end_to_end_time(requests, query, route, passed):
    def by_stage():
        found = query(f'sum by (stage) (headrace_stage_duration_seconds_sum{{route="{route}"}})')
        return {dict(labels)["stage"]: seconds for labels, seconds in found.items()}

    eventually(lambda: passed <= {stage for stage, seconds in by_stage().items() if seconds > 0}, "all stages")
    # One query for both, so that they are of the same moment: other tests' requests continue.
    both = query(
        f'sum(headrace_stage_duration_seconds_sum{{route="{route}"}})'
        f' / sum(headrace_request_duration_seconds_sum{{route="{route}"}})'
    )
    assert list(both.values()) == [pytest.approx(1, abs=0.05)]


def test_time_to_first_token_has_quantiles(requests, query):
    buckets = 'sum by (le) (increase(headrace_time_to_first_token_seconds_bucket{model="smollm2"}[5m]))'
    p50 = total(query, f"histogram_quantile(0.5, {buckets})")
    p95 = total(query, f"histogram_quantile(0.95, {buckets})")
    assert 0 < p50 <= p95 < 60


def test_metrics_of_tokens_and_engines_are_recorded(requests, query):
    assert total(query, 'headrace_completion_tokens_total{model="smollm2",tenant="default"}') > 0
    assert total(query, 'headrace_prompt_tokens_total{model="smollm2",tenant="default"}') > 0
    eventually(lambda: total(query, 'headrace_engine_up{model="smollm2"}') == 1, "the engine is up")
    eventually(lambda: total(query, 'headrace_engine_slots{model="smollm2"}') == 4, "its slots")
    eventually(lambda: total(query, "sum(headrace_engine_leases)") == 0, "the end of every lease")


def test_engine_metrics_reach_prometheus(stack, requests, query):
    own = 'sum(llamacpp:tokens_predicted_total{model="smollm2"})'
    before = eventually(lambda: total(query, own), "the engines' own count")
    with stack.client() as client:
        assert client.post(CHATS, json=CHAT).is_success
    eventually(lambda: total(query, own) > before, "it grows with what is written")


def test_every_emitted_metric_is_in_the_catalogue(requests, query):
    known = {m.name for m in CATALOGUE}
    known |= {f"{m.name}{s}" for m in CATALOGUE for s in ("_bucket", "_sum", "_count", "_created", "_total")}
    emitted = {dict(k)["__name__"] for k in query('{__name__=~"headrace_.+"}')}
    assert emitted
    assert emitted <= known
