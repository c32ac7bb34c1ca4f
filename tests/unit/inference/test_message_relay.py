"""The events of a message: whatever the text and however it is cut, nothing is lost and blocks do not overlap."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engines.sse import FrameError, encode
from serving.inference.messages.events import MessageRelay
from serving.protocol.errors import ApiError

END = b"data: [DONE]\n\n"
TEXTS = st.lists(st.text(min_size=1, max_size=8), max_size=12)
CITED = {"file_id": "file-1", "file_name": "sea.md", "title": "", "quote": "It is deep."}
BESIDE = {"headrace": {"citations": [CITED]}}


def frame(**delta: Any) -> bytes:
    return encode({"id": "theirs", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def piece(index: int, arguments: str, **more: Any) -> bytes:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return frame(tool_calls=[{"index": index, "function": function, **more}])


def events(data: bytes) -> list[dict[str, Any]]:
    found = []
    for block in data.split(b"\n\n")[:-1]:
        name, line = block.split(b"\n", 1)
        event = orjson.loads(line.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        found.append(event)
    return found


def relayed(stream: bytes, cuts: tuple[int, ...] | list[int] = (), beside: dict[str, Any] | None = None) -> list[Any]:
    """The events of a whole stream, whose blocks are checked to follow each other."""
    relay = MessageRelay("msg_1", "m", ["END"])
    out = relay.head()
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    for start, stop in pairwise(places):
        out += relay.feed(stream[start:stop])
    if beside is not None:
        relay.annotate({0: beside})
    found = events(out + relay.tail())
    open_block = None
    for event in found:
        if event["type"] == "content_block_start":
            assert open_block is None
            open_block = event["index"]
        elif event["type"].startswith("content_block"):
            assert event["index"] == open_block
            open_block = open_block if event["type"] == "content_block_delta" else None
    assert open_block is None
    assert [found[0]["type"], found[-2]["type"], found[-1]["type"]] == [
        "message_start",
        "message_delta",
        "message_stop",
    ]
    return found


@given(TEXTS, st.lists(st.integers(0, 5000), max_size=10))
def test_any_text_arrives(texts: list[str], cuts: list[int]) -> None:
    found = relayed(b"".join(frame(content=text) for text in texts) + END, cuts)
    assert [e["delta"]["text"] for e in found if e["type"] == "content_block_delta"] == texts
    assert sum(e["type"] == "content_block_start" for e in found) == bool(texts)


def test_kinds_of_content_are_blocks_of_their_own() -> None:
    stream = frame(reasoning_content="Hm.") + frame(content="I ") + frame(content="look.")
    stream += piece(0, "", id="a", name="look") + piece(0, '{"at":1}') + piece(1, "{}", id="b", name="look")
    found = relayed(stream + frame(content=" Done.") + END)
    kinds = [e["content_block"]["type"] for e in found if e["type"] == "content_block_start"]
    assert kinds == ["thinking", "text", "tool_use", "tool_use", "text"]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


def test_a_call_waits_for_its_name() -> None:
    found = relayed(piece(0, '{"a"', id="a") + piece(0, ":1}", name="look") + END)
    assert [e["delta"]["partial_json"] for e in found if e["type"] == "content_block_delta"] == ['{"a":1}']
    relay = MessageRelay("msg_1", "m", [])
    relay.feed(piece(0, "{}", id="a") + END)
    with pytest.raises(ApiError):
        relay.tail()


def test_a_call_that_goes_on_after_the_next_one_is_refused() -> None:
    relay = MessageRelay("msg_1", "m", [])
    with pytest.raises(FrameError):
        relay.feed(piece(0, "{", id="a", name="f") + piece(1, "{}", id="b", name="g") + piece(0, "}"))


def test_a_stream_that_is_cut_off_has_no_end() -> None:
    relay = MessageRelay("msg_1", "m", [])
    relay.feed(frame(content="a"))
    with pytest.raises(FrameError):
        relay.tail()


def test_citations_come_at_the_end_of_the_last_text() -> None:
    found = relayed(frame(content="Deep.") + END, beside=BESIDE)
    cited, stop, end = found[-4:-1]
    assert (cited["delta"]["type"], stop["type"]) == ("citations_delta", "content_block_stop")
    assert cited["delta"]["citation"]["source"] == "/v1/files/file-1/content"
    assert cited["delta"]["citation"]["title"] == "sea.md"
    assert end["headrace"] == BESIDE["headrace"]


def test_a_stopped_stream_is_closed() -> None:
    relay = MessageRelay("msg_1", "m", [])
    out = relay.head() + relay.feed(frame(content="a")) + relay.stopped({"headrace": {"memory": {}}}, chat=True)
    found = events(out)
    assert [e["type"] for e in found[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
    assert found[-2]["headrace"] == {"memory": {}}
