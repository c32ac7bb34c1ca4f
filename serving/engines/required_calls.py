"""Calls that a request requires, of llama.cpp: a JSON Schema holds its model to one call.

llama.cpp takes `tool_choice`, but makes a grammar only of the formats of calls that it knows from a model's template:
others answer in prose. So the functions are told in the instructions, the answer is held to a JSON Schema whose
alternatives are the functions, and becomes the call that it is. It passes on once it is whole: what is no call yet has
no name to begin with.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from serving.core.ids import new_id
from serving.engines.endpoint import Endpoint
from serving.engines.sse import DONE, Splitter, decode, encode, payload

CHAT = "/chat/completions"

MAX_BODY = 64_000_000
"""Bytes of an answer."""

_EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
_CUT = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]+)"\s*(?:,\s*"arguments"\s*:\s*(.*))?', re.DOTALL)
"""The beginning of an answer that ended before its call did."""


def needed(endpoint: Endpoint, path: str, document: dict[str, Any]) -> bool:
    """Whether an engine must be held to a call."""
    chosen = document.get("tool_choice")
    required = chosen == "required" or isinstance(chosen, dict)
    return path == CHAT and endpoint.tokenizer == "llamacpp" and required and bool(document.get("tools"))


def as_schema_request(document: dict[str, Any]) -> dict[str, Any]:
    """Returns what the engine is asked in place of `document`."""
    chosen = document["tool_choice"]
    functions = [tool["function"] for tool in document["tools"]]
    if isinstance(chosen, dict):
        functions = [function for function in functions if function["name"] == chosen["function"]["name"]]
    left_out = ("tools", "tool_choice", "parallel_tool_calls", "logprobs", "top_logprobs")
    sent = {name: value for name, value in document.items() if name not in left_out}
    sent["messages"] = _instructed(document["messages"], functions)
    sent["response_format"] = {"type": "json_schema", "json_schema": {"name": "call", "schema": _schema(functions)}}
    return sent


def _instructed(messages: list[dict[str, Any]], functions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the messages with the functions in the first instructions: templates take no others."""
    told = "\n".join(orjson.dumps(function).decode() for function in functions)
    words = (
        "Answer with one call of a function, as JSON: "
        '{"name": the function\'s name, "arguments": an object that fits its parameters}.\n'
        f"The functions are:\n{told}"
    )
    first = messages[0] if messages else {}
    if first.get("role") == "system" and isinstance(first.get("content"), str):
        return [{**first, "content": f"{first['content']}\n\n{words}"}, *messages[1:]]
    return [{"role": "system", "content": words}, *messages]


def _schema(functions: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the schema of a call. Each function's parameters stand in one place, from which references start."""
    parameters = {f"f{n}": function.get("parameters") or _EMPTY for n, function in enumerate(functions)}
    calls = [
        {
            "type": "object",
            "properties": {"name": {"const": function["name"]}, "arguments": {"$ref": f"#/$defs/f{n}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for n, function in enumerate(functions)
    ]
    return {"anyOf": calls, "$defs": {key: _moved(schema, f"#/$defs/{key}") for key, schema in parameters.items()}}


def _moved(schema: Any, to: str) -> Any:
    """Returns a schema whose references to its own parts start at its new place."""
    if isinstance(schema, list):
        return [_moved(each, to) for each in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _moved(value, to) for name, value in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = to + reference[1:]
    return moved


def with_tool_call(choice: dict[str, Any], content: str) -> dict[str, Any]:
    """Returns a choice of the engine's, whose message or delta has the call that its `content` is.

    Of an answer that was cut the call has the arguments as far as they came; there is none before its name is known.
    """
    finish, calls = choice.get("finish_reason"), []
    name, arguments = _call(content)
    if name is not None:
        calls = [{"id": new_id("call"), "type": "function", "function": {"name": name, "arguments": arguments}}]
        finish = "tool_calls" if finish == "stop" else finish
    message: dict[str, Any] = {"role": "assistant", "content": None} | ({"tool_calls": calls} if calls else {})
    return {"index": choice.get("index", 0), "message": message, "finish_reason": finish}


def _call(content: str) -> tuple[str | None, str]:
    try:
        call = orjson.loads(content)
        return str(call["name"]), orjson.dumps(call["arguments"]).decode()
    except (orjson.JSONDecodeError, LookupError, TypeError):
        cut = _CUT.match(content)
        return (cut[1], cut[2] or "") if cut is not None else (None, "")


class CallResponse:
    """Reads as the engine's response, with calls in place of text. `content` is the body of that response."""

    def __init__(self, content: Any, stream: bool) -> None:
        self._engines = content
        self._stream = stream
        self._read = False

    @property
    def content(self) -> CallResponse:
        """Its body."""
        return self

    async def readany(self) -> bytes:
        """Returns the whole body, and nothing after that. Raises what reading the engine's raises."""
        if self._read:
            return b""
        self._read = True
        body = bytearray()
        while len(body) < MAX_BODY and (piece := await self._engines.readany()):
            body += piece
        return _streamed(bytes(body)) if self._stream else _complete_body(bytes(body))


def _complete_body(body: bytes) -> bytes:
    try:
        document = orjson.loads(body)
        for n, choice in enumerate(document["choices"]):
            document["choices"][n] = with_tool_call(choice, choice["message"].get("content") or "")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return body  # whoever reads it says what is wrong
    return orjson.dumps(document)


def _streamed(body: bytes) -> bytes:
    """Returns the frames of a stream of calls; nothing where the engine broke off."""
    texts: dict[int, str] = {}
    ends: dict[int, Any] = {}
    first: dict[str, Any] = {}
    beside, done = b"", False
    for data in map(payload, Splitter().feed(body)):
        if data is None or data == DONE:
            done = done or data == DONE
            continue
        document = decode(data)
        choices = document.get("choices")
        if not choices:  # its usage, or an error
            beside += encode(document)
            continue
        first = first or {
            name: value for name, value in document.items() if name not in ("choices", "usage", "timings")
        }
        for choice in choices:
            index = choice.get("index", 0)
            texts[index] = texts.get(index, "") + ((choice.get("delta") or {}).get("content") or "")
            ends[index] = choice.get("finish_reason") or ends.get(index)
        if document.get("usage"):
            beside += encode({**first, "choices": [], "usage": document["usage"]})
    if not done:
        return beside
    frames = b""
    for index, text in sorted(texts.items()):
        choice = with_tool_call({"index": index, "finish_reason": ends[index]}, text)
        message = choice["message"]
        if "tool_calls" in message:
            message["tool_calls"] = [{"index": n, **call} for n, call in enumerate(message["tool_calls"])]
        for delta, end in ((message, None), ({}, choice["finish_reason"])):
            frame = {**first, "choices": [{"index": index, "delta": delta, "finish_reason": end}]}
            frames += encode(frame)
    return frames + beside + b"data: " + DONE + b"\n\n"
