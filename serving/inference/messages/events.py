"""Relays an engine's chat stream as the events of a message.

Source: Anthropic's documentation of streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from serving.core.ids import new_id
from serving.engines.sse import FrameError, FrameTemplate
from serving.inference import steps
from serving.inference.messages.object import citations, opened, stopped, usage
from serving.inference.relay import Relay
from serving.protocol.errors import upstream

_TEXT, _THINKING = "text", "thinking"


class MessageRelay(Relay):
    """State of one stream of events.

    Blocks follow each other: one is closed when the next is opened, and the last one at the end, when citations are
    known.
    """

    def __init__(self, id: str, model: str, stops: Sequence[str]) -> None:
        super().__init__({}, want_usage=False)
        self._document = opened(id, model)
        self._stops = stops
        self._blocks: list[str] = []  # in order, a kind or the number of a call; the last one is open
        self._matched: object = None
        self._beside: dict[str, Any] = {}
        self._text_head = b""

    def head(self) -> bytes:
        """Returns the events before the first block."""
        return _event("message_start", message=self._document) + _event("ping")

    def step(self, step: dict[str, Any]) -> bytes:
        """Returns the events of a strategy's step."""
        return self._think(f"{steps.step_text(step)}\n")

    def annotate(self, fields: dict[int, dict[str, Any]]) -> None:
        """Takes the fields beside the text."""
        self._beside = fields.get(0, {})

    def stopped(self, fields: dict[str, Any], *, chat: bool) -> bytes:
        """Returns the last events of a stream that its caller stopped."""
        self._beside = fields
        return self._close() + self._ended("end_turn", None)

    def tail(self) -> bytes:
        """Returns the last events.

        Raises `FrameError` when the engine's stream was cut off, and `ApiError` when the answer is not a message.
        """
        self._check_whole()
        if any(key not in self._blocks for _, key in self._calls):
            raise upstream("The model's answer is no message of a chat.")
        reason, stop = stopped(self._reasons.get(0), self._matched, self._stops, calls=bool(self._calls))
        return self._close() + self._ended(reason, stop)

    def _added(self, template: FrameTemplate, text: bytes) -> bytes:
        return self._open_text() + self._text_head + text + b'"}}\n\n'

    def _frame(self, document: dict[str, Any]) -> bytes:
        out = []
        for choice in document["choices"]:
            self._matched = choice.get("stop_reason") or self._matched
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                continue
            thought = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(thought, str) and thought:
                out.append(self._think(thought))
            for said in (delta.get("content"), delta.get("refusal")):
                if isinstance(said, str) and said:
                    out += [self._open_text(), self._text_head, orjson.dumps(said)[1:-1], b'"}}\n\n']
            if isinstance(calls := delta.get("tool_calls"), list):
                out += [self._piece(part) for part in calls if isinstance(part, dict)]
        return b"".join(out)

    def _think(self, thought: str) -> bytes:
        opening = b""
        if self._blocks[-1:] != [_THINKING]:
            opening = self._open(_THINKING, {"type": "thinking", "thinking": "", "signature": ""})
        return opening + self._delta(type="thinking_delta", thinking=thought)

    def _open_text(self) -> bytes:
        if self._blocks[-1:] == [_TEXT]:
            return b""
        opening = self._open(_TEXT, {"type": "text", "text": "", "citations": None})
        start = {"type": "content_block_delta", "index": len(self._blocks) - 1}
        head = orjson.dumps({**start, "delta": {"type": "text_delta", "text": ""}})
        self._text_head = b"event: content_block_delta\ndata: " + head.removesuffix(b'"}}')
        return opening

    def _piece(self, part: dict[str, Any]) -> bytes:
        key = str(part.get("index", 0))
        call = self._calls.get((0, key))
        if call is None or not call["name"]:
            return b""
        if self._blocks[-1:] == [key]:
            piece = part.get("function")
            arguments = piece.get("arguments") if isinstance(piece, dict) else None
            return self._arguments(str(arguments or ""))
        if key in self._blocks:
            raise FrameError("the engine goes on with a call after another one began")
        call["id"] = call["id"] or new_id("toolu")
        block = {"type": "tool_use", "id": call["id"], "name": call["name"], "input": {}}
        return self._open(key, block) + self._arguments(call["arguments"])

    def _arguments(self, json: str) -> bytes:
        return self._delta(type="input_json_delta", partial_json=json) if json else b""

    def _open(self, key: str, block: dict[str, Any]) -> bytes:
        closing = self._close()
        self._blocks.append(key)
        return closing + _event("content_block_start", index=len(self._blocks) - 1, content_block=block)

    def _close(self) -> bytes:
        if not self._blocks:
            return b""
        cited = citations(self._beside) if self._blocks[-1] == _TEXT else ()
        events = [self._delta(type="citations_delta", citation=each) for each in cited]
        return b"".join([*events, _event("content_block_stop", index=len(self._blocks) - 1)])

    def _delta(self, **delta: Any) -> bytes:
        return _event("content_block_delta", index=len(self._blocks) - 1, delta=delta)

    def _ended(self, reason: str | None, stop: str | None) -> bytes:
        told = self._beside.get("headrace")
        beside = {"headrace": told} if told else {}
        ending = {"stop_reason": reason, "stop_sequence": stop}
        return _event("message_delta", delta=ending, usage=usage(self.usage), **beside) + _event("message_stop")


def _event(name: str, /, **fields: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps({"type": name, **fields}) + b"\n\n"
