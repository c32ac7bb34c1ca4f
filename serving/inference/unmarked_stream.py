"""Removes the marks of a prompt from an engine's answer, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from serving.assistants.unmarking import MarkRemover, Unmarking
from serving.engines.sse import DONE, Splitter, decode, encode, payload
from serving.guardrails.checker import TEXTS


def unmark(unmarking: Unmarking, choices: Iterable[dict[str, Any]]) -> None:
    """Removes marks from the texts and the arguments of calls in the choices of a complete answer."""
    for choice in choices:
        message = choice.get("message")
        if not isinstance(message, dict):
            continue
        for holder, name in (*((message, name) for name in TEXTS), *_arguments(message)):
            if isinstance(text := holder.get(name), str):
                holder[name] = unmarking.text(text)


def _arguments(said: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for call in said.get("tool_calls") or ():
        if isinstance(call, dict) and isinstance(function := call.get("function"), dict):
            yield function, "arguments"


class UnmarkedStream:
    """State of one stream."""

    def __init__(self, unmarking: Unmarking) -> None:
        self._unmarking = unmarking
        self._splitter = Splitter()
        self._removers: dict[int, dict[str | int, MarkRemover]] = {}  # of each choice's texts, and of its calls
        self._base: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes from the engine and returns those that have no marks. Raises `FrameError`."""
        return b"".join([self._frame(frame) for frame in self._splitter.feed(chunk)])

    def _frame(self, frame: bytes) -> bytes:
        data = payload(frame)
        if data is None:
            return b""
        if data == DONE:
            rests = [(index, self._add_rest(index, {})) for index in list(self._removers)]
            left = [{**self._base, "choices": [{"index": index, "delta": rest}]} for index, rest in rests if rest]
            return b"".join(map(encode, left)) + frame + b"\n\n"
        document = decode(data)
        choices = document.get("choices")
        if document.get("error") or not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            return frame + b"\n\n"  # the relay reports the error
        self._base = {name: value for name, value in document.items() if name not in ("choices", "usage")}
        said = [choice for choice in choices if self._says(choice)]
        if choices and not said and not document.get("usage"):
            return b""  # all of its text waits
        return encode(document)

    def _says(self, choice: dict[str, Any]) -> bool:
        """Removes the marks from a choice; returns whether anything of it can be sent now."""
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return True
        index = choice.get("index", 0)
        removers = self._removers.setdefault(index, {})
        waits = False
        for name in TEXTS:
            if isinstance(text := delta.get(name), str) and text:
                delta[name] = removers.setdefault(name, MarkRemover(self._unmarking)).feed(text)
                waits = waits or not delta[name]
        for call in delta.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(text := function.get("arguments"), str):
                remover = removers.setdefault(call.get("index", 0), MarkRemover(self._unmarking))
                function["arguments"] = remover.feed(text)
        if choice.get("finish_reason"):
            self._add_rest(index, delta)
            return True
        return not waits or any(value for value in delta.values())

    def _add_rest(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        """Adds what waits to the last delta of a choice."""
        for of, remover in self._removers.pop(index, {}).items():
            if not (rest := remover.end()):
                continue
            if isinstance(of, str):
                delta[of] = (delta.get(of) or "") + rest
            else:
                calls = delta.get("tool_calls") or []
                delta["tool_calls"] = [*calls, {"index": of, "function": {"arguments": rest}}]
        return delta
