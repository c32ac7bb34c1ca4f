"""What is read of a batch's file, and what is told of lines that are wrong."""

from __future__ import annotations

import json

import pytest

from serving.api.background import batch_input
from serving.api.background.batch_input import body_of, read_lines
from serving.config import Limits

LIMITS = Limits(body_bytes=4096, json_depth=4, json_containers=100)
URL = "/v1/chat/completions"
GOOD = {"custom_id": "a", "method": "POST", "url": URL, "body": {"model": "m"}}


def test_lines_are_numbered_as_they_stand_in_the_file():
    content = b"\n".join([json.dumps(GOOD).encode(), b"", b"  \r", json.dumps(GOOD | {"custom_id": "b"}).encode()])
    for ending in (b"", b"\n", b"\r\n"):
        lines, errors = read_lines(content + ending, URL, LIMITS)
        assert [(line.number, line.custom_id) for line in lines] == [(1, "a"), (4, "b")]
        assert errors == []
        assert [json.loads(body_of(content + ending, line)) for line in lines] == [{"model": "m"}] * 2


@pytest.mark.parametrize(
    ("text", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_request", None),
        (b"\xff", "invalid_json_line", None),
        (json.dumps(GOOD | {"custom_id": None}).encode(), "invalid_custom_id", "custom_id"),
        (json.dumps(GOOD | {"custom_id": ""}).encode(), "invalid_custom_id", "custom_id"),
        (json.dumps(GOOD | {"custom_id": "x" * 513}).encode(), "invalid_custom_id", "custom_id"),
        (json.dumps(GOOD).encode(), "duplicate_custom_id", "custom_id"),
        (json.dumps(GOOD | {"custom_id": "b", "method": "GET"}).encode(), "invalid_method", "method"),
        (json.dumps(GOOD | {"custom_id": "b", "url": "/v1/embeddings"}).encode(), "mismatched_url", "url"),
        (json.dumps(GOOD | {"custom_id": "b", "body": "x"}).encode(), "invalid_request", "body"),
        (json.dumps(GOOD | {"custom_id": "b", "body": {"stream": True}}).encode(), "invalid_request", "body.stream"),
        (json.dumps(GOOD | {"custom_id": "b", "body": {"a": [[[[]]]]}}).encode(), "invalid_request", "body"),
        (json.dumps(GOOD | {"custom_id": "b", "body": {"a": [[]] * 100}}).encode(), "invalid_request", "body"),
        (b"[" * 4097, "line_too_large", None),
    ],
)
def test_invalid_lines_are_reported_with_number_and_field(text, code, param):
    _, [error] = read_lines(json.dumps(GOOD).encode() + b"\n" + text, URL, LIMITS)
    assert (error["line"], error["code"], error["param"]) == (2, code, param)
    assert error["message"]


def test_empty_and_too_long_files_are_rejected(monkeypatch):
    monkeypatch.setattr(batch_input, "MAX_LINES", 2)
    content = b"\n".join(json.dumps(GOOD | {"custom_id": str(n)}).encode() for n in range(3))
    assert [e["code"] for e in read_lines(content, URL, LIMITS)[1]] == ["too_many_lines"]
    assert [e["code"] for e in read_lines(b"\n \n", URL, LIMITS)[1]] == ["empty_file"]
    assert len(read_lines(b"{\n" * 1000, URL, LIMITS)[1]) == batch_input.MAX_ERRORS
