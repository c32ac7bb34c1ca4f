"""The frame contract: split anywhere, rewritten by template, never complete when it was cut off."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engines.sse import FrameError
from serving.inference.relay import EngineError, Relay

OURS = {"id": "chatcmpl-ours", "model": "docs"}


def chunk(content=None, finish=None, index=0, compact=True, **extra):
    delta = {} if content is None else {"content": content}
    document = {
        "choices": [{"finish_reason": finish, "index": index, "delta": delta}],
        "created": 1,
        "id": "chatcmpl-theirs",
        "model": "/secret/path.gguf",
        "object": "chat.completion.chunk",
        **extra,
    }
    import json

    data = json.dumps(document, separators=(",", ":") if compact else None, ensure_ascii=False)
    return b"data: " + data.encode() + b"\n\n"


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def stream(words, compact=True, done=True):
    frames = [chunk("", compact=compact), *[chunk(w, compact=compact) for w in words]]
    frames.append(chunk(finish="stop", compact=compact))
    usage = {"choices": [], "id": "chatcmpl-theirs", "model": "x", "usage": USAGE}
    frames.append(b"data: " + orjson.dumps(usage) + b"\n\n")
    if done:
        frames.append(b"data: [DONE]\n\n")
    return b"".join(frames)


def documents(data):
    frames = [f.removeprefix(b"data: ") for f in data.split(b"\n\n") if f]
    return [orjson.loads(f) for f in frames if f != b"[DONE]"]


def text_of(docs):
    return "".join(c["delta"].get("content") or "" for d in docs for c in d["choices"])


marks = st.sampled_from(['"', "\\", "\n\n", "data: [DONE]", '"id":"chatcmpl-theirs"', '"usage":{', '"finish_reason":"'])
hostile = st.lists(st.text(max_size=5) | marks, max_size=4).map("".join)


@given(words=st.lists(hostile, max_size=8), cuts=st.lists(st.integers(1, 60), max_size=40), compact=st.booleans())
def test_any_chunking_of_the_stream_gives_the_same_answer(words, cuts, compact):
    data = stream(words, compact)
    relay = Relay(OURS, want_usage=True)
    out, position = b"", 0
    for size in [*cuts, len(data)]:
        out += relay.feed(data[position : position + size])
        position += size
    out += relay.tail()
    docs = documents(out)
    assert text_of(docs) == "".join(words) == relay.texts().get(0, "")
    assert all(d["id"] == OURS["id"] and d["model"] == OURS["model"] for d in docs)
    assert b"/secret/path.gguf" not in out
    assert docs[-1]["usage"] == USAGE
    assert out.endswith(b"data: [DONE]\n\n")


def test_usage_is_hidden_unless_asked_for_but_always_known():
    relay = Relay(OURS, want_usage=False)
    out = relay.feed(stream(["a", "b"])) + relay.tail()
    assert b"usage" not in out
    assert relay.usage == USAGE


def test_a_stream_that_was_cut_off_never_looks_complete():
    relay = Relay(OURS, want_usage=False)
    out = relay.feed(stream(["a", "b"], done=False))
    assert b"[DONE]" not in out
    with pytest.raises(FrameError):
        relay.tail()


def test_held_finish_frames_come_last():
    relay = Relay(OURS, want_usage=True, hold_finish=True)
    out = relay.feed(stream(["a"]))
    assert b'"stop"' not in out
    relay.held[0]["choices"][0]["delta"]["annotations"] = ["here"]
    last = documents(relay.tail())
    assert last[0]["choices"][0] == {"finish_reason": "stop", "index": 0, "delta": {"annotations": ["here"]}}
    assert last[1]["usage"] == USAGE


def test_an_error_inside_the_stream_is_an_error():
    relay = Relay(OURS, want_usage=False)
    relay.feed(chunk("a"))
    with pytest.raises(EngineError):
        relay.feed(b'data: {"error":{"message":"boom"}}\n\n')


@pytest.mark.parametrize("frame", [b"data: nonsense\n\n", b"data: [1]\n\n", b'data: {"x":1}\n\n'])
def test_a_frame_that_is_no_chunk_is_an_error(frame):
    with pytest.raises(FrameError):
        Relay(OURS, want_usage=False).feed(frame)


def test_comments_and_other_fields_are_skipped():
    relay = Relay(OURS, want_usage=False)
    assert relay.feed(b": ping\n\nevent: x\nid: 1\n\n") == b""


def test_a_frame_without_end_is_bounded():
    relay = Relay(OURS, want_usage=False)
    with pytest.raises(FrameError):
        for _ in range(70):
            relay.feed(b"x" * 65536)


def test_plain_tokens_are_not_decoded(monkeypatch):
    relay = Relay(OURS, want_usage=False)
    relay.feed(chunk("a"))
    monkeypatch.setattr("serving.inference.relay.decode", None)  # decoding would fail now
    out = relay.feed(b"".join(chunk(f"{i} ") for i in range(100)))
    assert text_of(documents(out)) == "".join(f"{i} " for i in range(100))
    assert relay.tokens == 101


def test_a_frame_that_differs_from_the_template_is_decoded():
    relay = Relay(OURS, want_usage=False)
    relay.feed(chunk("a"))
    out = relay.feed(chunk("b", nested={"id": "chatcmpl-theirs"}) + chunk("c", index=1) + chunk("d"))
    docs = documents(out)
    assert [d["id"] for d in docs] == [OURS["id"]] * 3
    assert docs[0]["nested"] == {"id": "chatcmpl-theirs"}
    assert relay.texts() == {0: "abd", 1: "c"}


def test_data_after_done_is_dropped():
    relay = Relay(OURS, want_usage=False)
    relay.feed(stream(["a"]))
    assert relay.feed(chunk("late")) == b""
    assert relay.texts() == {0: "a"}


def test_choices_are_kept_apart():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}
    frames = [
        chunk("a", index=0),
        chunk("b", index=1),
        chunk("c", index=0),
        chunk(choices=[{"index": 1, "delta": {"content": "!", "tool_calls": [call]}}]),
        chunk(choices=[{"index": 1, "delta": {"tool_calls": [more]}}]),
        chunk(choices=[{"index": 0, "delta": {"refusal": "no"}}]),
        chunk(finish="stop", index=0),
    ]
    relay = Relay(OURS, want_usage=False)
    relay.feed(b"".join(frames))
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    first = {"role": "assistant", "content": "ac", "refusal": "no"}
    second = {"role": "assistant", "content": "b!", "tool_calls": calls}
    assert relay.choices() == [
        {"index": 0, "message": first, "finish_reason": "stop"},
        {"index": 1, "message": second, "finish_reason": None},
    ]
