"""Relays an engine's chat stream as the semantic events of a response."""

from __future__ import annotations

from typing import Any

import orjson

from serving.core.ids import new_id
from serving.engines.sse import FrameTemplate
from serving.inference.relay import Relay
from serving.inference.responses.object import ResponseObject, output_items
from serving.inference.steps import reasoning_item
from serving.protocol.errors import ApiError

_MESSAGE = "message"


class ResponseRelay(Relay):
    """State of one stream of events.

    Events are numbered consecutively, by default from 0. An item's index is its position in the order in which items
    were opened: the message at its first text, each call at its first part. Items are closed together at the end, when
    citations are known; a strategy's step is closed immediately.
    """

    def __init__(self, response: ResponseObject, first: int = 0) -> None:
        super().__init__({}, want_usage=False)
        self._response = response
        self._sequence = first
        self._left = first  # number of sent events: the number of the next one if the stream fails
        self._before: list[dict[str, Any]] = []  # items that are not from the engine: searches, and steps of a strategy
        self._opened: dict[str, str] = {}  # ids of items, in order
        self._text_head = b""
        self._beside: dict[str, Any] = {}

    def head(self) -> bytes:
        """Returns the events for the creation and start of the response, and its searches."""
        document = self._response.document()
        events = b""
        if document["background"]:
            waiting = {**document, "status": "queued"}
            events += self._event("response.created", response=waiting)
            events += self._event("response.queued", response=waiting)
        else:
            events += self._of_response("response.created")
        events += self._of_response("response.in_progress")
        events += b"".join(map(self._search, self._response.searches))
        self._left = self._sequence
        return events

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes from the engine and returns events; when it raises `FrameError` or `EngineError`,
        none are sent.
        """
        events = super().feed(chunk)
        self._left = self._sequence
        return events

    def step(self, step: dict[str, Any]) -> bytes:
        """Returns the events of a strategy's step, which is its own item."""
        item = reasoning_item(step, self._response.id)
        [part] = item["summary"]
        place = {"item_id": item["id"], "output_index": len(self._opened)}
        here = {**place, "summary_index": 0}
        self._before.append(item)
        self._opened[item["id"]] = item["id"]
        begun = {**item, "summary": [], "status": "in_progress"}
        events = [
            self._event("response.output_item.added", output_index=place["output_index"], item=begun),
            self._event("response.reasoning_summary_part.added", **here, part={**part, "text": ""}),
            self._event("response.reasoning_summary_text.delta", **here, delta=part["text"]),
            self._event("response.reasoning_summary_text.done", **here, text=part["text"]),
            self._event("response.reasoning_summary_part.done", **here, part=part),
            self._event("response.output_item.done", output_index=place["output_index"], item=item),
        ]
        self._left = self._sequence
        return b"".join(events)

    def _search(self, item: dict[str, Any]) -> bytes:
        """Returns the events of a search, which took place before the stream."""
        index = len(self._opened)
        place = {"item_id": item["id"], "output_index": index}
        self._before.append(item)
        self._opened[item["id"]] = item["id"]
        begun = {**item, "results": None, "status": "in_progress"}
        events = [self._event("response.output_item.added", output_index=index, item=begun)]
        for state in ("in_progress", "searching", "completed"):
            events.append(self._event(f"response.file_search_call.{state}", **place))
        events.append(self._event("response.output_item.done", output_index=index, item=item))
        return b"".join(events)

    def annotate(self, fields: dict[int, dict[str, Any]]) -> None:
        """Takes the annotations of the text, and the response's additional fields."""
        self._beside = fields.get(0, {})
        self._response.headrace = self._beside.get("headrace")

    def stopped(self, fields: dict[str, Any], *, chat: bool) -> bytes:
        """Returns nothing: a response that was stopped is not stored, so no event has it as a whole."""
        return b""

    def tail(self) -> bytes:
        """Returns the last events, up to the one with the whole response.

        Raises `FrameError` when the engine's stream was cut off, and `ApiError` when the answer is not a message.
        """
        self._check_whole()
        empty: dict[str, Any] = {"message": {"content": ""}, "finish_reason": None}
        choice = next(iter(self.choices()), empty)
        reason = choice["finish_reason"]
        items = output_items({**choice["message"], **self._beside}, reason)
        calls = (number for choice_index, number in self._calls if choice_index == 0)
        out = []
        for n, item in enumerate(items):
            key = _MESSAGE if item["type"] == "message" else next(calls)
            if key not in self._opened:
                out.append(self._open(key, item))
            items[n] = {"id": self._opened[key], **item}
        places = list(self._opened.values())
        items.sort(key=lambda item: places.index(item["id"]))
        out += [self._close(index, item) for index, item in enumerate(items, len(self._before))]
        self._response.finish([*self._before, *items], reason, self.usage)
        return b"".join([*out, self._of_response(f"response.{self._response.status}")])

    def failed(self, error: ApiError) -> bytes:
        """Returns the last events of a failed stream."""
        self._response.fail(error)
        self._sequence = self._left
        event = self._event("error", code=error.code, message=error.message, param=error.param)
        return event + self._of_response("response.failed")

    def _added(self, template: FrameTemplate, text: bytes) -> bytes:
        return self._open_text() + self._delta(text)

    def _frame(self, document: dict[str, Any]) -> bytes:
        out = []
        for choice in document["choices"]:
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                continue
            text, calls = delta.get("content"), delta.get("tool_calls")
            if isinstance(text, str) and text:
                out += [self._open_text(), self._delta(orjson.dumps(text)[1:-1])]
            if isinstance(calls, list):
                out += [self._piece(part) for part in calls if isinstance(part, dict)]
        return b"".join(out)

    def _open_text(self) -> bytes:
        if self._text_head:
            return b""
        opening = self._open(_MESSAGE, {"type": "message", "role": "assistant"})
        place = self._place(_MESSAGE)
        opening += self._event("response.content_part.added", **place, content_index=0, part=_empty("output_text"))
        start = {"type": "response.output_text.delta", **place, "content_index": 0, "logprobs": []}
        self._text_head = b"event: response.output_text.delta\ndata: " + orjson.dumps(start)[:-1] + b',"delta":"'
        return opening

    def _delta(self, text: bytes) -> bytes:
        """Returns the event for a JSON-escaped text."""
        return self._text_head + text + b'","sequence_number":%d}\n\n' % self._next()

    def _piece(self, part: dict[str, Any]) -> bytes:
        key = str(part.get("index", 0))
        call = self._calls.get((0, key))
        if call is None:
            return b""
        out = b""
        if key not in self._opened:
            call["id"] = call["id"] or new_id("call")
            item = {"type": "function_call", "call_id": call["id"], "name": call["name"]}
            out = self._open(key, item)
        piece = part.get("function")
        arguments = piece.get("arguments") if isinstance(piece, dict) else None
        if arguments:
            out += self._event("response.function_call_arguments.delta", **self._place(key), delta=str(arguments))
        return out

    def _open(self, key: str, item: dict[str, Any]) -> bytes:
        id = self._response.item_id(item["type"])
        self._opened[key] = id
        blank: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        begun = {"id": id, **item, **blank, "status": "in_progress"}
        return self._event("response.output_item.added", output_index=len(self._opened) - 1, item=begun)

    def _close(self, index: int, item: dict[str, Any]) -> bytes:
        place = {"item_id": item["id"], "output_index": index}
        out = []
        if item["type"] == "message":
            out += [self._close_part(place, n, part) for n, part in enumerate(item["content"])]
        else:
            done = {"arguments": item["arguments"], "name": item["name"]}
            out.append(self._event("response.function_call_arguments.done", **place, **done))
        out.append(self._event("response.output_item.done", output_index=index, item=item))
        return b"".join(out)

    def _close_part(self, place: dict[str, Any], n: int, part: dict[str, Any]) -> bytes:
        here = {**place, "content_index": n}
        out = []
        if part["type"] == "output_text":
            for i, annotation in enumerate(part["annotations"]):
                name = "response.output_text.annotation.added"
                out.append(self._event(name, **here, annotation_index=i, annotation=annotation))
            out.append(self._event("response.output_text.done", **here, text=part["text"], logprobs=[]))
        else:
            out.append(self._event("response.content_part.added", **here, part=_empty("refusal")))
            out.append(self._event("response.refusal.delta", **here, delta=part["refusal"]))
            out.append(self._event("response.refusal.done", **here, refusal=part["refusal"]))
        out.append(self._event("response.content_part.done", **here, part=part))
        return b"".join(out)

    def _place(self, key: str) -> dict[str, Any]:
        return {"item_id": self._opened[key], "output_index": list(self._opened).index(key)}

    def _of_response(self, name: str) -> bytes:
        return self._event(name, response=self._response.document())

    def _event(self, name: str, /, **fields: Any) -> bytes:
        document = {"type": name, **fields, "sequence_number": self._next()}
        return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"

    def _next(self) -> int:
        number = self._sequence
        self._sequence += 1
        return number


def _empty(kind: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": ""} if kind == "refusal" else {"type": kind, "text": "", "annotations": []}
