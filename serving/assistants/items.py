"""Converts items of a conversation to messages of a chat, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

Message = dict[str, Any]
"""A message in the format of `/v1/chat/completions`."""


def messages(bodies: Iterable[Mapping[str, Any]]) -> list[Message]:
    """Returns the messages for `bodies`; calls are part of the assistant's message before them."""
    shown: list[Message] = []
    for body in bodies:
        if body["type"] == "function_call":
            if not shown or shown[-1]["role"] != "assistant":
                shown.append({"role": "assistant"})
            function = {"name": body["name"], "arguments": body["arguments"]}
            call = {"id": body["call_id"], "type": "function", "function": function}
            shown[-1].setdefault("tool_calls", []).append(call)
        elif body["type"] == "function_call_output":
            shown.append({"role": "tool", "tool_call_id": body["call_id"], "content": _content(body["output"])})
        else:
            role = "system" if body["role"] == "developer" else body["role"]
            shown.append({"role": role, "content": _content(body["content"])})
    return shown


def paired(shown: Sequence[Message]) -> list[Message]:
    """Returns `shown` without unanswered calls and results without a call: engines reject both."""
    kept: list[Message] = []
    waiting: set[str] = set()
    for i, message in enumerate(shown):
        if message["role"] == "tool":
            if message["tool_call_id"] in waiting:
                waiting.discard(message["tool_call_id"])
                kept.append(message)
            continue
        waiting = set()
        if calls := message.get("tool_calls"):
            results = {m["tool_call_id"] for m in takewhile(lambda m: m["role"] == "tool", shown[i + 1 :])}
            calls = [call for call in calls if call["id"] in results]
            waiting = {call["id"] for call in calls}
            message = {name: value for name, value in message.items() if name != "tool_calls"}
            if calls:
                message["tool_calls"] = calls
            elif not message.get("content"):
                continue
        kept.append(message)
    return kept


def bodies(conversation: Iterable[Message], *, status: str = "completed") -> list[dict[str, Any]]:
    """Returns the items to store for `conversation`, without instructions, which belong to a request."""
    return [body for message in conversation for body in _bodies(message, status)]


def _bodies(message: Message, status: str) -> Iterable[dict[str, Any]]:
    role, content = message["role"], message.get("content")
    if role in ("system", "developer"):
        return
    if role == "tool":
        output = content if isinstance(content, str) else _parts(content or (), "input_text")
        yield {
            "type": "function_call_output",
            "call_id": message["tool_call_id"],
            "output": output,
            "status": "completed",
        }
        return
    parts = _parts(content or (), "output_text" if role == "assistant" else "input_text")
    if parts and (cited := message.get("annotations")):
        parts[0]["annotations"] = [{"type": c["type"], **c[c["type"]]} for c in cited]
    if message.get("refusal"):
        parts.append({"type": "refusal", "refusal": message["refusal"]})
    calls = message.get("tool_calls") or ()
    if parts or not calls:
        # Messages of users and programs are complete, whatever the status of the answer.
        state = status if role == "assistant" else "completed"
        yield {"type": "message", "role": role, "status": state, "content": parts}
    for call in calls:
        function = call["function"]
        yield {
            "type": "function_call",
            "call_id": call["id"],
            "name": function["name"],
            "arguments": function["arguments"],
            "status": status,
        }


def _parts(content: str | Sequence[Mapping[str, Any]], text_type: str) -> list[dict[str, Any]]:
    given = [{"type": "text", "text": content}] if isinstance(content, str) else content
    return [_part(part, text_type) for part in given]


def _part(part: Mapping[str, Any], text_type: str) -> dict[str, Any]:
    if part["type"] == "text":
        text: dict[str, Any] = {"type": text_type, "text": part["text"]}
        return {**text, "annotations": []} if text_type == "output_text" else text
    if part["type"] == "image_url":
        image = part["image_url"]
        return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail", "auto")}
    if part["type"] == "file":
        return {"type": "input_file", **part["file"]}
    return {"type": "input_audio", "input_audio": part["input_audio"]}


def _content(parts: str | Sequence[Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    """Returns a single text as a string, which every engine accepts, and anything else as parts."""
    if isinstance(parts, str):
        return parts
    shown = [_chat_part(part) for part in parts]
    if not shown:
        return ""
    if len(shown) == 1 and shown[0]["type"] == "text":
        return str(shown[0]["text"])
    return shown


def _chat_part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = part["type"]
    if kind in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "text", "text": part["refusal"]}
    if kind == "input_image" and part.get("image_url"):
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail", "auto")}}
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": part["input_audio"]}
    return {"type": "file", "file": {name: value for name, value in part.items() if name not in ("type", "detail")}}


def characters(value: object) -> int:
    """Returns the total length of the texts of items."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        # A picture is not text: its size is limited by that of the body.
        return sum(characters(v) for k, v in value.items() if k not in ("image_url", "input_audio", "file_data"))
    return sum(map(characters, value)) if isinstance(value, list) else 0
