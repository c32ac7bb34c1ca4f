"""The benchmark of the web page, reduced: it counts what the gateway sent, and finds what would be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from bench.page import load, stream
from bench.page.gateway import PageGateway, running_browser, running_gateway
from bench.page.traffic import Traffic
from bench.page.upstream import ScriptedModel
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


def test_a_long_conversation_is_measured(browser: Chromium) -> None:
    model = ScriptedModel()
    with running_gateway(model.app()) as gateway:
        row = stream.one_round(browser, gateway, model, messages=240, seconds=2, answers=2)
    assert row["messages drawn"] == 200
    assert 200 < row["elements"] < row["nodes with texts"]
    assert 1 < row["lexed for each character"] < 20
    assert 1 < row["heap MB"] < 30
    assert 0 < row["script"] < row["main thread ms/s"]
    assert row["slow: frame p95 ms"] > 0
    assert row["INP ms"] >= row["key handled ms"] > 0


def test_an_answer_that_is_not_whole_is_reported(browser: Chromium, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ScriptedModel()
    with running_gateway(model.app()) as gateway:
        conversation = stream.fill_conversation(gateway, 2)
        with stream.read_conversation(browser, gateway, conversation, 2) as page:
            monkeypatch.setattr(stream, "TOKEN_CHARACTERS", 5)
            with pytest.raises(BenchError, match="has 800 characters of 1000"):
                stream.stream(page, model, 1, slowdown=1, typing=False)


def test_goals_of_long_conversations_are_medians_with_their_range() -> None:
    row = {
        "slow: frame p95 ms": 20,
        "tasks over 50 ms": 0,
        "INP ms": 200,
        "main thread ms/s": 150,
        "heap MB": 30,
        "growth MB in 100 answers": 2,
        "messages drawn": 200,
        "elements": 6000,
        "lexed for each character": 20,
    }
    assert all(goal.met for goal in stream.goals(row, [row]))
    for name in row:
        worse = {**row, name: row[name] + 1}
        [missed] = [goal for goal in stream.goals(worse, [row, worse]) if not goal.met]
        assert missed.goal.endswith(f"(rounds from {row[name]} to {row[name] + 1})")
