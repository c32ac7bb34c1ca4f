"""Messages in Anthropic's format, which chats' answers become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from serving.core.ids import new_id

_STOPPED = {"length": "max_tokens", "content_filter": "refusal", "tool_calls": "tool_use", "function_call": "tool_use"}

CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")


def message(answer: Mapping[str, Any], stops: Sequence[str]) -> dict[str, Any]:
    """Returns a chat's whole answer as a message; `stops` are the request's stop sequences.

    `headrace`, which Anthropic lacks, is as in a chat.
    """
    choice = answer["choices"][0]
    said = choice["message"]
    reason, stop = stopped(choice.get("finish_reason"), choice.get("stop_reason"), stops, calls=bool(_calls(said)))
    return {
        **opened(answer["id"], answer["model"]),
        "content": _content(said),
        "stop_reason": reason,
        "stop_sequence": stop,
        "usage": usage(answer.get("usage") or {}),
        **({"headrace": said["headrace"]} if said.get("headrace") else {}),
    }


def opened(id: str, model: str) -> dict[str, Any]:
    """Returns a message before its content."""
    return {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 0, **dict.fromkeys(CACHED, 0), "output_tokens": 0},
    }


def stopped(
    finish_reason: object, matched: object, stops: Sequence[str], *, calls: bool
) -> tuple[str | None, str | None]:
    """Returns why a message ended, and the stop sequence if it was one.

    `matched` is what the engine says about the end: vLLM names the sequence, and other engines do not tell it from the
    natural end.
    """
    if finish_reason == "stop" and isinstance(matched, str) and matched in stops:
        return "stop_sequence", matched
    if isinstance(finish_reason, str) and finish_reason in _STOPPED:
        return _STOPPED[finish_reason], None
    # Some engines stop after a required call.
    return ("tool_use" if calls else "end_turn"), None


def usage(of: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a chat's usage as that of a message; null where the engine reported none.

    All tokens of the input are the sum of three numbers, of which `input_tokens` is the one without cached tokens.
    """
    prompt, completion = _count(of, "prompt_tokens"), _count(of, "completion_tokens")
    cached = _count(of.get("prompt_tokens_details"), "cached_tokens") or 0
    return {
        "input_tokens": prompt - cached if prompt is not None else None,
        **dict.fromkeys(CACHED, 0),
        "cache_read_input_tokens": cached,
        "output_tokens": completion,
    }


def citations(beside: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the citations among the fields beside a text: each document is a search result, in order.

    Where in the text they are, `headrace.citations` says: Anthropic's belong to the whole block.
    """
    told = beside.get("headrace")
    found = (told.get("citations") if isinstance(told, Mapping) else None) or ()
    documents = list(dict.fromkeys(each["file_id"] for each in found))
    return [
        {
            "type": "search_result_location",
            "cited_text": each["quote"],
            "source": f"/v1/files/{each['file_id']}/content",
            "title": each["title"] or each["file_name"],
            "search_result_index": documents.index(each["file_id"]),
            "start_block_index": 0,
            "end_block_index": 1,
        }
        for each in found
    ]


def call_input(arguments: str) -> dict[str, Any]:
    """Returns the arguments of a call; what is no object, such as of a call that was cut off, stays as its text."""
    try:
        given = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        given = None
    return given if isinstance(given, dict) else {"INVALID_JSON": arguments}


def _content(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if thought := said.get("reasoning_content") or said.get("reasoning"):
        blocks.append({"type": "thinking", "thinking": thought, "signature": ""})
    if text := said.get("content") or said.get("refusal"):
        blocks.append({"type": "text", "text": text, "citations": citations(said) or None})
    for call in _calls(said):
        function = call["function"]
        block = {"type": "tool_use", "id": call.get("id") or new_id("toolu"), "name": function["name"]}
        blocks.append({**block, "input": call_input(function.get("arguments") or "")})
    return blocks


def _calls(said: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return said.get("tool_calls") or ()


def _count(counts: Any, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) else None
