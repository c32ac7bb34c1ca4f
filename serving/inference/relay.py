"""Relays an engine's event stream to the caller, and reads from it what capture, usage and citations need."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from serving.engines import choices_usage
from serving.engines.cached_tokens import without_cached
from serving.engines.sse import DONE, FrameError, FrameTemplate, Splitter, decode, encode, payload
from serving.inference import steps


class EngineError(Exception):
    """The engine reported an error inside its stream."""


class Relay:
    """State of one relayed stream. `ours` are the `id` and `model` for the caller.

    With `hold_finish`, frames that end a choice are held until `tail()`, so that citations can be added to them.
    `transform` changes each decoded frame in place; with it every frame is decoded. Unless `counted`, the number of
    cached prompt tokens is removed.
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
        self._template: FrameTemplate | None = None
        self._texts: dict[int, list[bytes]] = {}
        self._calls: dict[tuple[int, str], dict[str, Any]] = {}  # by choice and number
        self._refusals: dict[int, str] = {}
        self._reasons: dict[int, str] = {}
        self._usage_frame: dict[str, Any] | None = None
        self._created = int(time.time())
        self._stepped = False  # steps have been sent before the answer
        self.counted = True
        self.held: list[dict[str, Any]] = []
        self.asked: dict[str, Any] = {}  # the engine's request, if it may have several choices
        self._sums: list[dict[str, Any]] = []  # reports of usage: in frames of their own, and beside choices
        self._of_choices: dict[int, dict[str, Any]] = {}
        self.done = False
        self.tokens = 0
        self.first_token: float | None = None
        self.last_token: float | None = None

    def feed(self, chunk: bytes) -> bytes:
        """Takes bytes from the engine and returns the bytes for the caller. Raises `FrameError` or `EngineError`."""
        out = []
        before = self.tokens
        for frame in self._splitter.feed(chunk):
            template = self._template
            if template is not None and (text := template.text(frame)) is not None:
                self._texts[template.index].append(text)
                self.tokens += 1
                out.append(self._added(template, text))
            elif frame:
                out.append(self._relay_decoded(frame))
        if self.tokens > before:
            self.last_token = time.perf_counter()
            if self.first_token is None:
                self.first_token = self.last_token
        return b"".join(out)

    def _relay_decoded(self, frame: bytes) -> bytes:
        data = payload(frame)
        if data is None or self.done:
            return b""
        if data == DONE:
            self.done = True
            self._template = None  # frames after the end mark are not part of the answer
            return b""
        document = decode(data)
        if document.get("error"):
            raise EngineError
        if not self.counted:
            without_cached(document)  # before it becomes a template
        choices = document.get("choices")
        if not isinstance(choices, list) or not all(isinstance(c, dict) for c in choices):
            raise FrameError("a frame of the engine's stream has no choices")
        if self._transform is None:
            self._template = FrameTemplate.learn(frame, document, self._ours) or self._template
        return self._decoded(document, choices)

    def _decoded(self, document: dict[str, Any], choices: list[dict[str, Any]]) -> bytes:
        document.update(self._ours)
        document.pop("timings", None)
        usage = document.get("usage")
        if isinstance(usage, dict):
            if choices:
                self._of_choices[choices[0].get("index", 0)] = usage
                if choices_usage.answers_of(self.asked) > 1:  # usage of single choices is reported in their sum
                    del document["usage"]
                    self._usage_frame = self._usage_frame or {**document, "choices": []}
            else:
                self._sums.append(usage)
        if not choices:
            self._usage_frame = document
            return b""
        if not self._want_usage:
            document.pop("usage", None)
        if self._transform is not None:
            self._transform(document)
        for choice in choices:
            self._read_choice(choice)
        if self._hold_finish and any(c.get("finish_reason") for c in choices):
            self.held.append(document)
            return b""
        return self._frame(document)

    def _added(self, template: FrameTemplate, text: bytes) -> bytes:
        """Returns the caller's frame for a JSON-escaped text."""
        return template.fill(text)

    def _frame(self, document: dict[str, Any]) -> bytes:
        """Returns the caller's frame for a decoded one, whose choices have been read."""
        return encode(document)

    def _read_choice(self, choice: dict[str, Any]) -> None:
        index = choice.get("index", 0)
        texts = self._texts.setdefault(index, [])
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {"content": choice.get("text")}
        text = delta.get("content")
        if isinstance(text, str) and text:
            texts.append(text.encode())
        else:
            text = None
        if isinstance(calls := delta.get("tool_calls"), list):
            self._read_calls(index, calls)
        if text or calls:
            self.tokens += 1
        if isinstance(refusal := delta.get("refusal"), str):
            self._refusals[index] = self._refusals.get(index, "") + refusal
        if reason := choice.get("finish_reason"):
            self._reasons[index] = reason

    def _read_calls(self, index: int, parts: list[Any]) -> None:
        """Joins the parts of a tool call in a stream: its name in one part, its arguments in several."""
        for part in parts:
            piece = part.get("function") if isinstance(part, dict) else None
            if not isinstance(piece, dict):
                continue
            number = str(part.get("index", 0))
            call = self._calls.setdefault((index, number), {"id": "", "name": "", "arguments": ""})
            call["id"] = part.get("id") or call["id"]
            call["name"] = piece.get("name") or call["name"]
            call["arguments"] += str(piece.get("arguments") or "")

    def choices(self) -> list[dict[str, Any]]:
        """Returns the choices received so far, in the format of a complete answer."""
        return [
            {"index": index, "message": self._message(index, text), "finish_reason": self._reasons.get(index)}
            for index, text in sorted(self.texts().items())
        ]

    def _message(self, index: int, text: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if refusal := self._refusals.get(index):
            message["refusal"] = refusal
        calls = [call for (of, _), call in self._calls.items() if of == index]
        if calls:
            message["tool_calls"] = [
                {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
                for c in calls
            ]
        return message

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens that the engine has reported so far for all choices; empty if unknown."""
        # For several prompts, llama.cpp reports the last one in its own frame, and each one beside its choice.
        of_choices = list(self._of_choices.values())
        reports = of_choices if len(of_choices) > len(self._sums) else self._sums
        if choices_usage.answers_of(self.asked) == 1:
            return reports[-1] if reports else {}
        return choices_usage.usage_of_reports(reports, self.asked, self.choices(), whole=self.done)

    def texts(self) -> dict[int, str]:
        """Returns the text of each choice so far, by index."""
        return {index: b"".join(parts).decode(errors="replace") for index, parts in self._texts.items()}

    def head(self) -> bytes:
        """Returns the frames before the engine's first one."""
        return b""

    def step(self, step: dict[str, Any]) -> bytes:
        """Returns the frames of a strategy's step in its shown form; steps precede the answer."""
        delta = {} if self._stepped else {"role": "assistant"}
        self._stepped = True
        return self._chunk({**delta, "reasoning_content": f"{steps.step_text(step)}\n"})

    def answer(self, text: str, finish_reason: str, usage: dict[str, Any]) -> bytes:
        """Takes an answer that is not from an engine's stream, and returns its frames, except those of `tail`."""
        delta = {} if self._stepped else {"role": "assistant"}
        frames = [self._chunk({**delta, "content": text}), self._chunk({}, finish_reason)]
        frames.append(encode({**self._base(), "choices": [], "usage": usage or None}))
        return self.feed(b"".join([*frames, b"data: [DONE]\n\n"]))

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return encode({**self._base(), "choices": [choice]})

    def _base(self) -> dict[str, Any]:
        return {**self._ours, "created": self._created, "object": "chat.completion.chunk"}

    def annotate(self, fields: dict[int, dict[str, Any]]) -> None:
        """Adds fields beside the text of each choice, by index, before its end."""
        for document in self.held:
            for choice in document["choices"]:
                choice.setdefault("delta", {}).update(fields.get(choice.get("index", 0), {}))

    def stopped(self, fields: dict[str, Any], *, chat: bool) -> bytes:
        """Returns the last frames of a stream that its caller stopped, with `fields` beside the first choice's text."""
        choices = [
            {"index": index, **({"delta": {} if index else fields} if chat else {"text": ""}), "finish_reason": "stop"}
            for index in sorted(self._texts.keys() | {0})
            if self.held or index not in self._reasons
        ]
        kind = "chat.completion.chunk" if chat else "text_completion"
        return encode({**self._base(), "object": kind, "choices": choices}) + b"data: [DONE]\n\n"

    def tail(self) -> bytes:
        """Returns the last frames: held ones, usage if requested, and the end mark.

        Raises `FrameError` when the engine's stream was cut off: such a stream must never look complete.
        """
        self._check_whole()
        out = [encode(document) for document in self.held]
        if self._want_usage and self._usage_frame is not None:
            usage = {"usage": known} if (known := self.usage) else {}
            out.append(encode({**self._usage_frame, **usage}))
        return b"".join([*out, b"data: [DONE]\n\n"])

    def _check_whole(self) -> None:
        if not self.done:
            raise FrameError("the engine's stream was cut off")
