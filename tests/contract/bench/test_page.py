"""The benchmark of the web page, reduced: it counts what the gateway sent, and finds what would be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bench.page import load
from bench.page.gateway import PageGateway, running_browser, running_gateway
from bench.page.traffic import Traffic
from bench.processes import BenchError
from serving.page.assets import assets, entries
from tests.servers.browser import Chromium

FAST = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with running_browser() as made:
        yield made


@pytest.fixture(scope="module")
def gateway() -> Iterator[PageGateway]:
    with running_gateway() as made:
        yield made


def test_code_is_counted_as_gzip_sends_it(browser: Chromium, gateway: PageGateway) -> None:
    counted = load.count(browser, load.chat(gateway))
    first = entries("chat")
    sizes = [len(assets()[name].bodies["gzip"]) for name in (first.script, first.style)]
    assert counted.code_bytes() == sum(sizes)
    assert counted.hosts() == {gateway.url.removeprefix("http://")}
    assert {request.status for request in counted.requests.values()} == {200}
    assert counted.wire_bytes() > sum(sizes)


def test_a_page_is_timed_until_a_question_can_be_sent(browser: Chromium, gateway: PageGateway) -> None:
    times, traffic = load.load_slowly(browser, load.chat(gateway), FAST)
    assert 0 < times.box <= times.ready
    assert times.paint > 0
    encodings = {request.encoding for request in traffic.requests.values() if "/assets/" in request.url}
    assert encodings == {"br"}


def test_a_page_without_a_message_box_is_reported(
    browser: Chromium, gateway: PageGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "TIMEOUT_S", 1)
    with pytest.raises(BenchError, match="console: the message box cannot be used after 1 s"):
        load.load_slowly(browser, load.Site("console", f"{gateway.url}/admin", gateway=gateway), FAST)


def test_requests_to_other_hosts_are_seen() -> None:
    traffic = Traffic()
    urls = ("http://here:1/", "http://here:1/a.js", "http://fonts.example/a.css", "data:image/png,")
    events = [
        {
            "method": "Network.requestWillBeSent",
            "params": {"requestId": str(number), "request": {"url": url}, "type": "Script"},
        }
        for number, url in enumerate(urls)
    ]
    assert traffic.add(events) == 3
    assert traffic.hosts() == {"here:1", "fonts.example"}


@pytest.mark.parametrize(
    "missed", [{"requests": 7}, {"outside hosts": 1}, {"first paint s": 6.1}, {"model chosen s": 8.1}]
)
def test_a_missed_goal_says_so(missed: dict[str, float]) -> None:
    row = {"JS and CSS, KB gz": 80, "requests": 6, "outside hosts": 0, "first paint s": 6, "model chosen s": 8}
    console = {"JS and CSS, KB gz": 60, "outside hosts": 0}
    assert all(goal.met for goal in load.goals(row, console, [8.0, 9.0]))
    assert [goal.met for goal in load.goals({**row, **missed}, console, [8.0, 9.0])].count(False) == 1
    [slow] = [goal for goal in load.goals(row, console, [7.0, 7.5, 9.0]) if not goal.met]
    assert re.search(r"llama\.cpp.*rounds from 7\.0 to 9\.0", slow.goal)
