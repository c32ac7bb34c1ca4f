"""The sheet of one request."""

from __future__ import annotations

from typing import Any

import pytest

from serving.cli.requests.sheet import WAITS_FOR, lines
from serving.telemetry.catalogue import STAGES

ANSWER: dict[str, Any] = {
    "id": "chatcmpl-1",
    "request_id": "req-1",
    "created_at": 0,
    "requested": "docs",
    "assistant": "docs",
    "prompt_version": "1a2b",
    "alias": "small",
    "model": "smollm2",
    "adapter": "birds",
    "engine": "llamacpp",
    "stream": True,
    "outcome": "completed",
    "finish_reason": "stop",
    "error_code": None,
    "prompt_tokens": 412,
    "completion_tokens": 88,
    "cost": {"amount": "0.0012", "currency": "EUR"},
    "steps": 2,
    "passages": 3,
    "seconds": 1.0,
    "stages": {"decode": 0.75, "queue": 0.25},
    "consent": True,
}
LINE: dict[str, Any] = {
    "asctime": "2026-11-26 15:00:03,171",  # local time
    "timestamp_ns": 1_795_701_603_171_640_283,
    "replica": "g1",
    "request_id": "req-1",
    "method": "POST",
    "route": "/v1/chat/completions",
    "status": 429,
    "outcome": "refused",
    "code": "overloaded",
    "tenant": "birds",
    "key": "key_1",
    "model": "docs",
    "assistant": "docs",
    "served": "smollm2",
    "engine_replica": "r1",
    "retries": 0,
    "answer_id": None,
    "stream": False,
    "finish_reason": None,
    "seconds": 2.0,
    "overhead_seconds": 0.006,
    "stages": {"identify": 0.5, "admit": 1.5},
    "prompt_tokens": None,
    "completion_tokens": None,
    "cost": None,
    "trace_id": "ab12",
}


def facts(*given: Any) -> dict[str, str]:
    sheet = "\n".join(lines(*given)).partition("\n\n")[0]
    return {name: value.strip() for name, _, value in (line.partition("  ") for line in sheet.splitlines())}


def test_every_stage_tells_what_is_waited_for() -> None:
    assert tuple(WAITS_FOR) == STAGES


def test_an_answer_without_a_line_of_the_log() -> None:
    assert facts(ANSWER, None) == {
        "answer": "chatcmpl-1",
        "request": "req-1",
        "at": "1970-01-01 00:00:00Z",
        "route": "docs > assistant docs (prompt 1a2b) > alias small > model smollm2 (llamacpp) > adapter birds",
        "outcome": "completed, finish reason stop",
        "stream": "yes",
        "tokens": "412 read, 88 written",
        "cost": "0.0012 EUR",
        "work": "2 steps, 3 passages",
        "seconds": "1.000000",
        "texts": "GET /v1/admin/captures/chatcmpl-1, with the scope review",
    }
    assert list(lines(ANSWER, None))[-2:] == [
        "queue   0.250000  25.0%  a place at the model",
        "decode  0.750000  75.0%  the model's further tokens, or its whole answer",
    ]


def test_a_line_of_the_log_without_an_answer() -> None:
    assert facts(None, LINE) == {
        "request": "req-1",
        "at": "2026-11-26 14:00:03Z",
        "asked": "POST /v1/chat/completions -> 429",
        "caller": "tenant birds, key key_1",
        "route": "docs > assistant docs > model smollm2",
        "served by": "engine replica r1, gateway replica g1",
        "retries": "0",
        "outcome": "request refused, error overloaded",
        "stream": "no",
        "seconds": "2.000000, 0.006000 in Headrace itself",
        "trace": "ab12",
    }


def test_the_log_knows_the_end_of_a_request() -> None:
    both = facts(ANSWER, LINE | {"answer_id": "chatcmpl-1"}, "https://traces/{trace_id}?x=1")
    assert (both["answer"], both["seconds"]) == ("chatcmpl-1", "2.000000, 0.006000 in Headrace itself")
    assert both["outcome"] == "completed, request refused, finish reason stop, error overloaded"
    assert both["trace"] == "ab12 https://traces/ab12?x=1"
    assert "admit" in "\n".join(lines(ANSWER, LINE))


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "x" * 1000])
def test_what_others_chose_stays_on_its_line(text: str) -> None:
    names = ("requested", "assistant", "alias", "model", "adapter", "engine", "prompt_version", "finish_reason")
    sheet = list(
        lines(ANSWER | dict.fromkeys(names, text), LINE | {"key": text, "trace_id": text}, "https://t/{trace_id}")
    )
    assert len(sheet) == len(list(lines(ANSWER, LINE))) - (not text.isalnum())
    assert all(line.isprintable() for line in sheet)


def test_another_servers_answer_is_shown_as_far_as_it_goes() -> None:
    assert list(lines({"id": "x"}, None)) == [
        "answer  x",
        "texts   not for review: its request did not consent",
    ]
