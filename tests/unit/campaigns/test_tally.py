"""The comparison of counters with what callers know finds what it should, and nothing where all is well."""

from __future__ import annotations

import json

import pytest

from tests.contract.campaigns.tally import Counters, Tally, miscounted

ROUTE = "/v1/chat/completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
SAID = {"choices": [{"message": {"headrace": {"cost": {"amount": "0.5", "currency": "USD"}}}}], "usage": USAGE}


def exposed(**changed: float) -> Counters:
    """What an exporter would answer of two requests, one of them streamed, but for what is `changed`."""
    values = {
        "started": 2,
        "finished": 2,
        "tenant": 2,
        "prompt": 6,
        "completion": 8,
        "cost": 1,
        "whole": 3,
        "stages": 3,
    }
    values |= changed
    lines = {
        f'headrace_requests_started_total{{route="{ROUTE}"}}': "started",
        f'headrace_request_duration_seconds_count{{route="{ROUTE}",model="m",outcome="ok"}}': "finished",
        f'headrace_request_duration_seconds_sum{{route="{ROUTE}",model="m",outcome="ok"}}': "whole",
        'headrace_tenant_requests_total{tenant="t",outcome="ok"}': "tenant",
        'headrace_prompt_tokens_total{model="m",tenant="t"}': "prompt",
        'headrace_completion_tokens_total{model="m",tenant="t"}': "completion",
        'headrace_tenant_cost_total{tenant="t",model="m",currency="USD"}': "cost",
        f'headrace_stage_duration_seconds_sum{{route="{ROUTE}",stage="decode"}}': "stages",
    }
    return Counters("".join(f"{series} {values[name]}\n" for series, name in lines.items()))


def told(*, broken: int = 0, silent: int = 0) -> Tally:
    tally = Tally()
    tally.book(ROUTE, "t", 200, json.dumps(SAID).encode(), whole=True)
    delta = {"choices": [{"delta": SAID["choices"][0]["message"]}]}
    frames = [{"choices": [{"delta": {"content": "a"}}]}, delta, {"choices": [], "usage": USAGE}]
    stream = b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames) + b"data: [DONE]\n\n"
    tally.book(ROUTE, "t", 200, stream, whole=True)
    for _ in range(broken):
        tally.book(ROUTE, "t", 200, b"data: {", whole=False)
    for _ in range(silent):
        tally.book(ROUTE, "t", 0, b"", whole=False)
    return tally


def test_a_healthy_run_has_no_findings():
    assert miscounted(told(), exposed()) == []
    # One died with its caller's answer half sent, another answer was sent and not counted any more.
    after = exposed(started=4, finished=2, tenant=2, prompt=9, completion=8, cost=1.5)
    assert miscounted(told(broken=1, silent=1), after, kills=1, clients=2) == []
    assert miscounted(told(), exposed(finished=1, tenant=1), kills=1, clients=2) == []


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"finished": 1}, f"{ROUTE}: ok"),
        ({"finished": 3}, f"{ROUTE}: ok"),
        ({"started": 1}, f"{ROUTE}: started"),
        ({"started": 3}, f"{ROUTE}: started"),
        ({"tenant": 1}, "t: ok"),
        ({"prompt": 5}, "t: headrace_prompt_tokens_total"),
        ({"completion": 12}, "t: headrace_completion_tokens_total"),
        ({"cost": 1.001}, "t: cost"),
        ({"stages": 2.9}, f"{ROUTE}: its stages took 2.9 s"),
    ],
)
def test_each_difference_is_found(changed: dict[str, float], found: str):
    assert any(line.startswith(found) for line in miscounted(told(), exposed(**changed)))


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({"started": 5}, f"{ROUTE}: started"),
        ({"started": 2}, f"{ROUTE}: started"),
        ({"started": 4, "finished": 3}, f"{ROUTE}: ok"),  # counted before it was sent, or twice
        ({"started": 4, "finished": 0}, "answers that are not counted"),
        ({"started": 4, "prompt": 13}, "t: headrace_prompt_tokens_total"),
    ],
)
def test_a_kill_excuses_no_more_than_it_can_cut(changed: dict[str, float], found: str):
    lines = miscounted(told(broken=1, silent=1), exposed(**changed), kills=1, clients=2)
    assert any(line.startswith(found) for line in lines)


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (503, b'{"error":{"code":"unavailable"}}', "error"),
        (429, b'{"error":{"code":"rate_limit_exceeded"}}', "refused"),
        (200, b'event: error\ndata: {"type":"error"}\n\n', "error"),
        (200, b'data: {"error":{"code":"unavailable"}}\n\n', "error"),
    ],
)
def test_answers_are_classified_by_their_end(status: int, body: bytes, outcome: str):
    tally = Tally()
    tally.book(ROUTE, "t", status, body, whole=True)
    assert tally.answered == {(ROUTE, "t", outcome): 1}
