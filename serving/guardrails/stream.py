"""Applies output guardrails to an engine's event stream.

Text is held back until it has been checked (`window.HOLD` characters of it, or all of it if a model checks it), and the
arguments of a call until they are complete. The relay then reads, stores and sends only the checked stream.
"""

from __future__ import annotations

from typing import Any

from serving.engines.sse import DONE, FrameError, Splitter, decode, encode, payload
from serving.guardrails.checker import TEXTS, GuardrailChecker
from serving.guardrails.screen import Screened
from serving.guardrails.window import Window

MAX_HELD = 4_000_000
"""Maximum number of characters that are held back, of one text or of one choice's calls."""

_JUDGED = ("content", "text")


class GuardedStream:
    """State of one stream."""

    def __init__(self, guard: GuardrailChecker) -> None:
        self._guard = guard
        self._splitter = Splitter()
        self._choices: dict[int, _Choice] = {}
        self._base: dict[str, Any] = {}

    async def feed(self, chunk: bytes) -> bytes:
        """Takes bytes from the engine and returns those that have been checked. Raises `FrameError`."""
        return b"".join([await self._frame(frame) for frame in self._splitter.feed(chunk)])

    async def _frame(self, frame: bytes) -> bytes:
        data = payload(frame)
        if data is None:
            return b""
        if data == DONE:
            left = [await choice.end(None) for choice in self._choices.values()]
            return b"".join([*(self._sent(choices) for choices in left), b"data: [DONE]\n\n"])
        document = decode(data)
        choices = document.get("choices")
        if document.get("error") or not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            return frame + b"\n\n"  # the relay reports the error
        usage = {"usage": document.pop("usage")} if isinstance(document.get("usage"), dict) else {}
        self._base = {name: value for name, value in document.items() if name != "choices"}
        out = []
        for choice in choices:
            index = choice.get("index", 0)
            if index not in self._choices:
                self._choices[index] = _Choice(self._guard, index)
            out.append(self._sent(await self._choices[index].feed(choice)))
        if usage:
            out.append(encode({**self._base, "choices": [], **usage}))
        return b"".join(out)

    def _sent(self, choices: list[dict[str, Any]]) -> bytes:
        return b"".join(encode({**self._base, "choices": [choice]}) for choice in choices)


class _Choice:
    """The text of one choice so far, and the checked part of it."""

    def __init__(self, guard: GuardrailChecker, index: int) -> None:
        self._guard = guard
        self._index = index
        self._place = f"choices[{index}]"
        self._windows: dict[str, Window] = {}
        self._held: dict[str, list[str]] = {}
        self._calls: dict[str, dict[str, Any]] = {}
        self._size = 0
        self._legacy = False  # of the completions API
        self._ended = False

    async def feed(self, choice: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns the choices to send for one of the engine's."""
        if self._ended:
            return []
        delta = choice.get("delta")
        self._legacy = not isinstance(delta, dict)
        said: dict[str, Any] = {"text": choice.get("text")} if self._legacy else dict(delta or {})
        reason = choice.get("finish_reason")
        blocked = False
        for name in TEXTS:
            if isinstance(piece := said.get(name), str) and piece:
                result = self._take(name, piece)
                blocked = blocked or result.blocked
                said[name] = result.text
                if not result.text:
                    del said[name]
        if isinstance(calls := said.pop("tool_calls", None), list):
            self._take_calls(calls)
        sent = [self._choice(said)] if any(value is not None for value in said.values()) else []
        if blocked:
            self._ended = True
            return [*sent, self._choice({}, "content_filter")]
        return [*sent, *(await self.end(reason))] if reason else sent

    async def end(self, reason: str | None) -> list[dict[str, Any]]:
        """Returns the last choices to send; `reason` is None if the engine gave none."""
        if self._ended:
            return []
        self._ended = True
        said: dict[str, Any] = {}
        blocked = False
        for name, window in self._windows.items():
            result = self._noted(name, window.end())
            blocked = blocked or result.blocked
            said[name] = result.text
        for name, pieces in self._held.items():
            result = await self._guard.check("".join(pieces), "output", f"{self._place}.{name}")
            blocked = blocked or result.blocked
            said[name] = result.text
        for call in self._calls.values():
            result = await self._guard.call(call["function"]["arguments"], f"{self._place}.tool_calls")
            blocked = blocked or result.blocked
            call["function"]["arguments"] = result.text
        said = {name: text for name, text in said.items() if text}
        if self._calls and not blocked:
            said["tool_calls"] = list(self._calls.values())
        reason = "content_filter" if blocked else reason
        return [*([self._choice(said)] if said else []), *([self._choice({}, reason)] if reason else [])]

    def _take(self, name: str, piece: str) -> Screened:
        if name in _JUDGED and self._guard.output.judges:
            self._hold(piece)
            self._held.setdefault(name, []).append(piece)
            return Screened("")
        if name not in self._windows:
            self._windows[name] = Window(self._guard.output.rules)
        return self._noted(name, self._windows[name].feed(piece))

    def _noted(self, name: str, result: Screened) -> Screened:
        self._guard.note(result.found, "output", f"{self._place}.{name}")
        return result

    def _take_calls(self, parts: list[Any]) -> None:
        for part in parts:
            piece = part.get("function") if isinstance(part, dict) else None
            if not isinstance(piece, dict):
                continue
            empty = {"index": part.get("index", 0), "id": "", "type": "function"}
            call = self._calls.setdefault(
                str(part.get("index", 0)), {**empty, "function": {"name": "", "arguments": ""}}
            )
            call["id"] = part.get("id") or call["id"]
            call["function"]["name"] = piece.get("name") or call["function"]["name"]
            arguments = str(piece.get("arguments") or "")
            self._hold(arguments)
            call["function"]["arguments"] += arguments

    def _hold(self, piece: str) -> None:
        self._size += len(piece)
        if self._size > MAX_HELD:
            raise FrameError("an answer that must be checked as a whole is too long")

    def _choice(self, said: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        if self._legacy:
            return {"index": self._index, "text": said.get("text") or "", "finish_reason": reason}
        return {"index": self._index, "delta": said, "finish_reason": reason}
