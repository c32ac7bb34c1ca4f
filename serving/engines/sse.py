"""Frames of relayed event streams (server-sent events). Only frames that need it are decoded.

The first plain token frame becomes a template: the bytes before and after its text, in the engine's frame and in the
relayed one. A later frame with the same bytes around a text without quotes and backslashes is the same JSON with
another text, so that it can be rewritten without decoding.
"""

from __future__ import annotations

from typing import Any

import orjson

MAX_FRAME = 4_000_000
"""Maximum size of a frame in bytes; an engine that sends a larger one is broken."""

DONE = b"[DONE]"
_MARK = "\x01"


class FrameError(Exception):
    """The engine's stream violates the protocol."""


class Splitter:
    """Splits a byte stream into complete frames; an unfinished frame is kept for the next chunk."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the frames that `chunk` completes, without the blank lines after them."""
        data = self._rest + chunk if self._rest else chunk
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *frames, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_FRAME:
            raise FrameError("a frame of the engine's stream is too large")
        return frames


class FrameTemplate:
    """A token frame without its text. `index` is the number of its choice."""

    __slots__ = ("_head", "_our_head", "_our_tail", "_tail", "index")

    def __init__(self, index: int, head: bytes, tail: bytes, our_head: bytes, our_tail: bytes) -> None:
        self.index = index
        self._head, self._tail = head, tail
        self._our_head, self._our_tail = our_head, our_tail

    @classmethod
    def learn(cls, frame: bytes, theirs: dict[str, Any], ours: dict[str, str]) -> FrameTemplate | None:
        """Returns the template of a frame that only adds text to one choice; None for any other frame."""
        choices = theirs.get("choices")
        if not isinstance(choices, list) or len(choices) != 1:
            return None
        (choice,) = choices
        holder, field = (choice["delta"], "content") if isinstance(choice.get("delta"), dict) else (choice, "text")
        text = holder.get(field)
        if not isinstance(text, str) or not text or choice.get("finish_reason") or choice.get("logprobs"):
            return None
        if holder is not choice and len(holder) != 1:
            return None
        parts = frame.split(orjson.dumps(text))
        if len(parts) != 2:
            return None
        head, tail = parts[0] + b'"', b'"' + parts[1]
        holder[field] = _MARK
        try:
            if payload_document(head + b"\\u0001" + tail) != theirs:
                return None
            our_head, our_tail = encode({**theirs, **ours}).split(b"\\u0001")
        finally:
            holder[field] = text
        return cls(choice.get("index", 0), head, tail, our_head, our_tail)

    def text(self, frame: bytes) -> bytes | None:
        """Returns the JSON-escaped text of a frame that matches; None if it must be decoded."""
        if not (frame.startswith(self._head) and frame.endswith(self._tail)):
            return None
        text = frame[len(self._head) : -len(self._tail)]
        if b'"' in text or b"\\" in text or b"\n" in text:
            return None
        return text

    def fill(self, text: bytes) -> bytes:
        """Returns the relayed frame with `text`."""
        return self._our_head + text + self._our_tail


def payload(frame: bytes) -> bytes | None:
    """Returns the data of a frame, or None for a comment, another field or an empty frame.

    llama.cpp sends `null` before its answers to several prompts (seen with xllamacpp 2026.10).
    """
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    data = b"\n".join(lines)
    return data if lines and data != b"null" else None


def payload_document(frame: bytes) -> dict[str, Any] | None:
    """Returns the JSON object of a frame; None if it has none."""
    data = payload(frame)
    return None if data is None else decode(data)


def decode(data: bytes) -> dict[str, Any]:
    """Returns a frame's JSON object; raises `FrameError`."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise FrameError("a frame of the engine's stream is not JSON") from None
    if not isinstance(document, dict):
        raise FrameError("a frame of the engine's stream is not a JSON object")
    return document


def encode(document: dict[str, Any]) -> bytes:
    """Returns `document` as a frame."""
    return b"data: " + orjson.dumps(document) + b"\n\n"
