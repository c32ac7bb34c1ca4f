"""Absolute URLs of citations: which name is believed, and that nothing else of an answer changes."""

from __future__ import annotations

import asyncio
import json

import pytest

from serving.api.addresses.absolute_links import absolute_links, linked, named_by
from serving.api.app_gate import RUN

PATH = "/v1/files/file-1/content"
RESPONSE = {"type": "url_citation", "start_index": 0, "end_index": 4, "title": 'a "b"', "url": PATH}
CHAT = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 4, "title": "a", "url": PATH}}


def scope(*hosts, **more):
    headers = [(b"host", host) for host in hosts]
    return {"type": "http", "scheme": "http", "headers": headers, **more}


def sent(parts, kind=b"application/json", *, configured="", asked=None):
    """Returns the head and the parts of an answer as a caller gets them."""
    out = []

    async def app(scope, receive, send):
        headers = [(b"content-type", kind), (b"content-length", b"%d" % sum(map(len, parts)))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for n, part in enumerate(parts, 1):
            await send({"type": "http.response.body", "body": part, "more_body": n < len(parts)})

    async def send(message):
        out.append(message)

    asyncio.run(absolute_links(app, configured)(asked or scope(b"h.example"), None, send))
    assert [m["type"] for m in out] == ["http.response.start", *["http.response.body"] * (len(out) - 1)]
    assert [m["more_body"] for m in out[1:]] == [True] * (len(out) - 2) + [False]
    return dict(out[0]["headers"]), [m["body"] for m in out[1:]]


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ([b"Docs.Example"], "http://docs.example"),
        ([b"docs.example:8080"], "http://docs.example:8080"),
        ([b"[::1]:8080"], "http://[::1]:8080"),
        ([], ""),
        ([b""], ""),
        ([b"a.example", b"b.example"], ""),
        ([b"a.example/x"], ""),
        ([b"a.example?x"], ""),
        ([b"a.example#x"], ""),
        ([b"me@a.example"], ""),
        ([b"a.example:99999"], ""),
        ([b'a"b'], ""),
        ([b"a\\b"], ""),
        ([b"a b"], ""),
        ([b"\xff\xfe"], ""),
    ],
)
def test_only_one_valid_host_is_believed(hosts, name):
    assert named_by(scope(*hosts)) == name


def test_the_edge_says_whether_the_caller_used_tls():
    asked = scope(b"a.example")
    asked["headers"] += [(b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"b.example")]
    assert named_by(asked) == "https://a.example"


def test_the_configured_address_comes_first_unless_only_this_host_can_reach_it():
    body = json.dumps({"annotations": [CHAT]}).encode()
    for configured, base in (
        ("https://llm.example", "https://llm.example"),
        ("http://127.0.0.1:8080", "http://h.example"),
        ("http://localhost:8080", "http://h.example"),
        ("", "http://h.example"),
    ):
        _, [found] = sent([body], configured=configured)
        assert json.loads(found)["annotations"][0]["url_citation"]["url"] == base + PATH


def test_runs_of_apps_read_paths():
    body = json.dumps([RESPONSE]).encode()
    assert sent([body], asked=scope(b"127.0.0.1:1", **{RUN: object()}))[1] == [body]


def test_only_citations_of_files_change():
    others = {
        "metadata": {"url": PATH, "type": "url_citation_"},
        "text": f'"url_citation" "url":"{PATH}"',
        "elsewhere": {**RESPONSE, "url": "https://other.example/v1/files/x"},
        "odd": {"type": "url_citation", "url": 7},
        "odder": {"type": "url_citation", "url_citation": None},
    }
    assert linked(json.loads(json.dumps(others)), "http://h") == others
    assert linked({"a": [CHAT, {"b": dict(RESPONSE)}]}, "http://h")["a"][1]["b"] == {
        **RESPONSE,
        "url": f"http://h{PATH}",
    }


def test_a_whole_answer_has_its_new_length():
    body = json.dumps({"annotations": [RESPONSE]}).encode()
    headers, [found] = sent([body[:50], body[50:]])
    assert json.loads(found) == {"annotations": [{**RESPONSE, "url": f"http://h.example{PATH}"}]}
    assert headers[b"content-length"] == b"%d" % len(found)
    plain = b'{"a": 1.0, "b": "\\u00e9"}'
    headers, [found] = sent([plain])
    assert (found, headers[b"content-length"]) == (plain, b"%d" % len(plain))


def test_bytes_that_are_no_json_answer_stay_as_they_are():
    body = json.dumps({"annotations": [RESPONSE]}).encode()
    assert sent([body], b"application/octet-stream")[1] == [body]


def test_an_event_stream_may_be_cut_anywhere():
    frames = [b"event: a\ndata: " + json.dumps(value).encode() + b"\n\n" for value in ({"x": "y"}, RESPONSE, {"z": 1})]
    whole = b"".join(frames)
    expected = whole.replace(json.dumps(RESPONSE).encode(), json.dumps(RESPONSE, separators=(",", ":")).encode())
    expected = expected.replace(PATH.encode(), f"http://h.example{PATH}".encode())
    for cut in range(len(whole) + 1):
        assert b"".join(sent([whole[:cut], whole[cut:]], b"text/event-stream; charset=utf-8")[1]) == expected
    assert sent([frames[0], frames[2], b""], b"text/event-stream")[1] == [frames[0], frames[2], b""]


def test_an_event_that_its_sender_broke_off_is_passed_on_with_what_follows():
    parts = [b'data: {"type": "url_citation", "ur', b'\n\ndata: {"error": {"code": "stream_lost"}}\n\n']
    _, bodies = sent(parts, b"text/event-stream")
    assert b"".join(bodies) == b"".join(parts)
