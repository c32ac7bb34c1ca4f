"""Required tool calls with llama.cpp: a JSON Schema constrains the model to one call.

llama.cpp accepts `tool_choice`, but constrains only call formats that it knows from the model's template: other models
answer in prose. Therefore the instructions list the functions, the answer is constrained by a JSON Schema with one
alternative per function, and is converted to a call. The call is relayed once it is complete, since an unfinished one
may not have a name yet.
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
"""Maximum size of an answer, in bytes."""

_EMPTY = {"type": "object", "properties": {}, "additionalProperties": False}
_CUT = re.compile(r'\s*\{\s*"name"\s*:\s*"([a-zA-Z0-9_-]+)"\s*(?:,\s*"arguments"\s*:\s*(.*))?', re.DOTALL)
"""The beginning of a call in an answer that was truncated."""


def needed(endpoint: Endpoint, path: str, document: dict[str, Any]) -> bool:
    """Returns whether an engine's answer must be constrained to a call."""
    return endpoint.tokenizer == "llamacpp" and _requires_call(path, document)


def _requires_call(path: str, document: dict[str, Any]) -> bool:
    chosen = document.get("tool_choice")
    return path == CHAT and (chosen == "required" or isinstance(chosen, dict)) and bool(document.get("tools"))


def as_strict_request(endpoint: Endpoint, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Returns the request for vLLM, which holds a required call to its function's schema only if that is `strict`."""
    if endpoint.tokenizer != "vllm" or not _requires_call(path, document):
        return document
    chosen = document["tool_choice"]
    name = chosen["function"]["name"] if isinstance(chosen, dict) else None

    def strict(function: dict[str, Any]) -> dict[str, Any]:
        if name not in (None, function["name"]) or function.get("strict") is not None:
            return function
        return {**function, "strict": True}

    return {**document, "tools": [{**tool, "function": strict(tool["function"])} for tool in document["tools"]]}


def as_schema_request(document: dict[str, Any]) -> dict[str, Any]:
    """Returns the request that replaces `document`."""
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
    """Returns the messages with the functions in the first instructions: not all templates accept others."""
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
    """Returns the schema of a call. Each function's parameters occur once, and references point there."""
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
    """Returns a schema whose internal references start at its new location."""
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
    """Converts the `content` of an engine's choice to a tool call, in its message or delta.

    The call of a truncated answer has the arguments so far; without a complete name there is no call.
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
    """Wraps an engine's response, with calls in place of text. `content` is the body of that response."""

    def __init__(self, content: Any, stream: bool) -> None:
        self._engines = content
        self._stream = stream
        self._read = False

    @property
    def content(self) -> CallResponse:
        """Its body."""
        return self

    async def readany(self) -> bytes:
        """Returns the whole body first, then nothing. Raises what reading the engine's body raises."""
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
        return body  # the reader reports the error
    return orjson.dumps(document)


def _streamed(body: bytes) -> bytes:
    """Returns the frames of a stream of calls; none if the engine's stream was truncated."""
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
        if not choices:  # usage, or an error
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
