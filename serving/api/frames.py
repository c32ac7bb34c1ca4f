"""The frame contract of relayed event streams.

Frames are split, and only those that need it are decoded; the id and model are rewritten by a byte template that
is learnt from the first frame. That is safe: inside a JSON string every quote is escaped, so the bytes
`"id":"chatcmpl-…"` can only be the frame's own field. Capture and usage read the same frames.
"""

from __future__ import annotations

from typing import Any

import orjson

MAX_FRAME = 4_000_000
"""Bytes; an engine that sends more without ending a frame is broken."""

DONE = b"[DONE]"
_MARKS = (
    b'"finish_reason":"',
    b'"finish_reason": "',
    b'"usage":{',
    b'"usage": {',
    b'"error":',
    DONE,
)


class FrameError(Exception):
    """The engine's stream breaks the protocol."""


class Splitter:
    """Cuts a byte stream into whole frames; bytes of an unfinished frame wait for the next chunk."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Returns the frames that `chunk` completes, without their blank lines."""
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n")
        data = self._rest + chunk if self._rest else chunk
        *frames, self._rest = data.split(b"\n\n")
        if len(self._rest) > MAX_FRAME:
            raise FrameError("a frame of the engine's stream is too large")
        return [f for f in frames if f]

    @property
    def unfinished(self) -> bool:
        """Whether a frame was cut off."""
        return bool(self._rest.strip())


class Template:
    """Rewrites the `id` and `model` of frames from the engine's to ours, byte for byte."""

    __slots__ = ("_pairs",)

    def __init__(self, first: bytes, document: dict[str, Any], ours: dict[str, str]) -> None:
        self._pairs: list[tuple[bytes, bytes]] | None = []
        for field, value in ours.items():
            theirs = document.get(field)
            for separator in (b":", b": "):
                token = orjson.dumps(field) + separator + orjson.dumps(theirs)
                if theirs is not None and first.count(token) == 1:
                    self._pairs.append((token, orjson.dumps(field) + b":" + orjson.dumps(value)))
                    break
            else:  # spelt in a way that bytes cannot tell apart: every frame is decoded
                self._pairs = None
                return

    def rewrite(self, frame: bytes) -> bytes | None:
        """Returns the rewritten frame, or None when it must be decoded."""
        if self._pairs is None:
            return None
        for theirs, ours in self._pairs:
            if frame.count(theirs) != 1:
                return None
            frame = frame.replace(theirs, ours)
        return frame


def needs_decoding(frame: bytes) -> bool:
    """Whether a frame ends a choice, carries usage or an error, or ends the stream."""
    return any(mark in frame for mark in _MARKS)


def payload(frame: bytes) -> bytes | None:
    """Returns the data of a frame, or None for a comment or another field."""
    if frame.startswith(b"data:"):
        data = frame[5:]
        if b"\n" in data:
            lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
            return b"\n".join(lines)
        return data.removeprefix(b" ")
    lines = [line[5:].removeprefix(b" ") for line in frame.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


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
