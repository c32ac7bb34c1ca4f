"""Relays an engine's event stream to the caller while reading from it what capture, usage and citations need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from serving.api.frames import DONE, FrameError, Splitter, Template, decode, encode, needs_decoding, payload

COMPACT_EVERY = 512
"""Frames kept undecoded before their text is taken out, which bounds the memory of a long answer."""


class EngineError(Exception):
    """The engine reported an error inside its stream."""


class Relay:
    """State of one relayed stream.

    `ours` are the `id` and `model` that the caller sees. With `hold_finish`, frames that end a choice wait for
    `finish()`, so that citations can ride on them. `transform` rewrites each decoded frame in place; with it
    every frame is decoded.
    """

    def __init__(
        self,
        ours: dict[str, str],
        *,
        want_usage: bool,
        hold_finish: bool = False,
        transform: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._ours = ours
        self._want_usage = want_usage
        self._hold_finish = hold_finish
        self._transform = transform
        self._splitter = Splitter()
        self._template: Template | None = None
        self._kept: list[bytes] = []
        self._texts: dict[int, list[str]] = {}
        self._usage_frame: dict[str, Any] | None = None
        self.held: list[dict[str, Any]] = []
        self.usage: dict[str, Any] = {}
        self.done = False
        self.frames = 0
        self.first_token: float | None = None
        self.last_token: float | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes from the engine and returns the bytes for the caller.

        Raises `FrameError` or `EngineError`.
        """
        out = []
        for frame in self._splitter.feed(chunk):
            data = payload(frame)
            if data is None or self.done:
                continue
            forwarded = self._frame(frame, data)
            if forwarded:
                out.append(forwarded)
        return b"".join(out)

    def _frame(self, frame: bytes, data: bytes) -> bytes:
        if self._template is not None and not needs_decoding(data):
            rewritten = self._template.rewrite(frame)
            if rewritten is not None:
                self._keep(data)
                return rewritten + b"\n\n"
        if data == DONE:
            self.done = True
            return b""
        return self._decoded(frame, decode(data), data)

    def _decoded(self, frame: bytes, document: dict[str, Any], data: bytes) -> bytes:
        if document.get("error"):
            raise EngineError
        if self._template is None and self._transform is None:
            self._template = Template(frame, document, self._ours)
        choices = document.get("choices")
        if not isinstance(choices, list):
            raise FrameError("a frame of the engine's stream has no choices")
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.usage = usage
        document.update(self._ours)
        document.pop("timings", None)
        if not choices:
            self._usage_frame = document
            return b""
        if not self._want_usage:
            document.pop("usage", None)
        if self._transform is not None:
            self._transform(document)
        self._keep(data, token=any(_text(c) or c.get("delta", {}).get("tool_calls") for c in choices))
        if self._hold_finish and any(c.get("finish_reason") for c in choices):
            self.held.append(document)
            return b""
        return encode(document)

    def _keep(self, data: bytes, *, token: bool = True) -> None:
        self._kept.append(data)
        self.frames += 1
        if token:
            now = time.perf_counter()
            self.last_token = now
            if self.first_token is None:
                self.first_token = now
        if len(self._kept) >= COMPACT_EVERY:
            self._compact()

    def _compact(self) -> None:
        for data in self._kept:
            for choice in decode(data).get("choices", ()):
                text = _text(choice)
                if text:
                    self._texts.setdefault(choice.get("index", 0), []).append(text)
        self._kept.clear()

    def texts(self) -> dict[int, str]:
        """Returns the text of each choice so far, by index."""
        self._compact()
        return {index: "".join(parts) for index, parts in self._texts.items()}

    def tail(self) -> bytes:
        """Returns the last frames: what was held, usage when it was asked for, and the end mark.

        Raises `FrameError` when the engine's stream was cut off: such a stream must never look complete.
        """
        if not self.done:
            raise FrameError("the engine's stream was cut off")
        out = [encode(document) for document in self.held]
        if self._want_usage and self._usage_frame is not None:
            out.append(encode(self._usage_frame))
        return b"".join([*out, b"data: [DONE]\n\n"])


def _text(choice: dict[str, Any]) -> str:
    delta = choice.get("delta")
    value = delta.get("content") if isinstance(delta, dict) else choice.get("text")
    return value if isinstance(value, str) else ""
