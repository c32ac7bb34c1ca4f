"""Hostile bodies: every one is a 4xx in OpenAI's shape that never repeats the caller's text."""

from __future__ import annotations

import orjson
import pytest
from starlette.requests import Request

from serving.api.http import read_json
from serving.api.http_error import status_of
from serving.api.http_exchange import HttpExchange
from serving.config import Limits
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import ApiError

LIMITS = Limits(body_bytes=10_000, json_depth=16)
OK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def request(body, headers=()):
    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": list(headers), "headrace": HttpExchange("r", receive, None)}
    return Request(scope, receive)


async def refused(body, headers=()):
    with pytest.raises(ApiError) as e:
        await read_json(request(body, headers), ChatRequest, LIMITS)
    error = orjson.loads(e.value.body())["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return e.value


async def test_a_good_body_is_taken():
    body = await read_json(request(orjson.dumps(OK)), ChatRequest, LIMITS)
    assert body.messages[0].content == "hi"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"a":1e400}',
        b'{"a":"\\ud800"}',
        b"[" * 5000,
        b'{"a":' * 900 + b"1" + b"}" * 900,
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"x":' + b"[" * 40 + b"]" * 40 + b"}",
    ],
)
async def test_broken_json_is_a_400(body):
    e = await refused(body)
    assert (status_of(e), e.code) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"temperature": 2.5}, "temperature"),
        ({"n": 1.5}, "n"),
        ({"n": 0}, "n"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"seed": 2**40}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, None),
        ({"top_logprobs": 2}, None),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"tools": [{"type": "function", "function": {"name": "bad name"}}]}, "tools[0].function.name"),
        ({"model": ""}, "model"),
        ({"model": None}, "model"),
    ],
)
async def test_a_wrong_field_is_named(change, param):
    e = await refused(orjson.dumps(OK | change))
    assert status_of(e) == 400
    assert e.param == param


async def test_the_callers_text_is_never_repeated():
    secret = "hr_planted"
    e = await refused(orjson.dumps(OK | {"messages": [{"role": secret, "content": secret, secret: secret}]}))
    assert secret.encode() not in e.body()


async def test_bodies_are_bounded_declared_or_not():
    assert status_of(await refused(b"x" * 10_001)) == 413
    assert status_of(await refused(b"{}", [(b"content-length", b"99999999")])) == 413


async def test_compressed_and_other_bodies_are_refused():
    assert status_of(await refused(b"x", [(b"content-encoding", b"gzip")])) == 415
    assert status_of(await refused(b"x", [(b"content-type", b"text/plain")])) == 415
