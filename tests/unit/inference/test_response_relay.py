"""The events of a response: whatever the text and however it is cut, nothing is lost and numbers have no gap."""

from __future__ import annotations

from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engines.sse import FrameError, encode
from serving.inference.relay import EngineError
from serving.inference.responses.events import ResponseRelay
from serving.inference.responses.object import ResponseObject
from serving.protocol.errors import upstream
from serving.protocol.responses import ResponseRequest

END = b"data: [DONE]\n\n"
TEXTS = st.lists(st.text(min_size=1, max_size=8), max_size=12)


def new():
    reply = ResponseObject(ResponseRequest(model="m", input="x"))
    return ResponseRelay(reply), reply


def frame(text):
    return encode({"id": "theirs", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})


def events(data):
    found = []
    for block in data.split(b"\n\n")[:-1]:
        name, line = block.split(b"\n", 1)
        event = orjson.loads(line.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        found.append(event)
    assert [e["sequence_number"] for e in found] == list(range(len(found)))
    return found


def relayed(relay, stream, cuts=()):
    out = relay.head()
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, stop in pairwise(places):
        out += relay.feed(stream[start:stop])
    return out


@given(TEXTS, st.lists(st.integers(0, 5000), max_size=10))
def test_any_text_arrives(texts, cuts):
    relay, reply = new()
    out = relayed(relay, b"".join(map(frame, texts)) + END, cuts) + relay.tail()
    found = events(out)
    deltas = [e["delta"] for e in found if e["type"] == "response.output_text.delta"]
    assert deltas == texts
    [message] = found[-1]["response"]["output"]
    assert "".join(p["text"] for p in message["content"]) == "".join(texts)
    assert found[-1]["response"] == reply.document()


@pytest.mark.parametrize("bad", [b"data: {\n\n", encode({"error": {"message": "x"}})])
def test_events_that_did_not_leave_have_no_number(bad):
    relay, reply = new()
    out = relayed(relay, frame("a") + frame("b"))
    with pytest.raises((FrameError, EngineError)):
        relay.feed(frame("lost") + bad)
    found = events(out + relay.failed(upstream("It broke off.")))
    assert [e["type"] for e in found[-2:]] == ["error", "response.failed"]
    assert found[-1]["response"] == reply.document()


def test_a_tail_that_did_not_leave_has_no_number():
    relay, _ = new()
    out = relayed(relay, frame("a") + END)
    relay.tail()
    found = events(out + relay.failed(upstream("The store is full.")))
    assert (found[-1]["response"]["status"], found[-1]["response"]["output"]) == ("failed", [])


def test_a_stream_that_was_cut_never_looks_complete():
    relay, _ = new()
    relayed(relay, frame("a"))
    with pytest.raises(FrameError):
        relay.tail()


def test_plain_frames_are_not_decoded(monkeypatch):
    relay, _ = new()
    relayed(relay, frame("a"))
    monkeypatch.setattr("serving.inference.relay.decode", None)
    [event] = [orjson.loads(line[6:]) for line in relay.feed(frame("b")).split(b"\n") if line.startswith(b"data")]
    assert (event["delta"], event["sequence_number"]) == ("b", 5)
