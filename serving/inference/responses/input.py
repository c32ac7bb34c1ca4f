"""The input of a response: its own items, and its chat."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from serving.assistants import items
from serving.assistants.items import Message, characters
from serving.config import Limits
from serving.core.ids import new_id
from serving.guardrails.checker import INSTRUCTIONS
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import invalid
from serving.protocol.knowledge import FileSearchChoice
from serving.protocol.responses import (
    FileSearchCallItem,
    FunctionChoice,
    ReasoningItem,
    ResponseRequest,
    SchemaTextFormat,
)
from serving.protocol.validation import validate
from serving.store import values
from serving.store.conversations import PREFIXES, Body


def own_items(body: ResponseRequest) -> list[dict[str, Any]]:
    """Returns the input as items with ids, without reasoning and searches. A string is a user message."""
    if isinstance(body.input, str):
        content = [{"type": "input_text", "text": body.input}]
        given: list[dict[str, Any]] = [
            {"type": "message", "role": "user", "status": "completed", "content": content},
        ]
    else:
        ours = ReasoningItem | FileSearchCallItem
        given = [i.model_dump(exclude_none=True) for i in body.input if not isinstance(i, ours)]
    return [{"id": new_id(PREFIXES[item["type"]]), **item} for item in given]


def check(body: ResponseRequest, own: Sequence[Body], limits: Limits) -> None:
    """Raises `ApiError` for contradictory settings, and for input beyond the limits."""
    if body.previous_response_id is not None and body.conversation is not None:
        raise invalid("previous_response_id and conversation cannot be combined.", "previous_response_id")
    if body.background and not body.keeps:
        raise invalid("A background response is stored: store must not be false.", "store")
    if body.conversation is not None and not body.keeps:
        raise invalid("A conversation stores its messages: store must not be false.", "store")
    if not own:
        raise invalid("The input has no item that a model reads.", "input")
    if len(own) > limits.messages:
        raise invalid(f"More than {limits.messages} items.", "input", "too_many_messages")
    if characters(list(own)) + len(body.instructions or "") > limits.characters:
        raise invalid(f"The input has more than {limits.characters} characters.", "input", "too_long")
    _check_tool_choice(body)
    values.metadata("metadata", body.metadata)


def _check_tool_choice(body: ResponseRequest) -> None:
    names = {tool.name for tool in body.functions}
    choice = body.tool_choice
    if isinstance(choice, FunctionChoice) and choice.name not in names:
        raise invalid("tool_choice names a function that is not one of the tools.", "tool_choice.name")
    if isinstance(choice, FileSearchChoice) and body.file_search is None:
        raise invalid("tool_choice names file_search, which is not one of the tools.", "tool_choice")
    if choice == "required" and not body.tools:
        raise invalid("tool_choice is required, and there are no tools.", "tool_choice")


def answers_to_earlier_calls(own: Sequence[Body]) -> list[int]:
    """Returns the positions of results whose calls are not in the input; raises `ApiError` for a call without its
    result.

    A call in the input needs its result there too: no engine continues after an unanswered call.
    """
    waiting: dict[str, int] = {}
    earlier = []
    for place, item in enumerate(own):
        if item["type"] == "function_call":
            waiting[item["call_id"]] = place
        elif item["type"] == "function_call_output" and waiting.pop(item["call_id"], None) is None:
            earlier.append(place)
    if waiting:
        place = min(waiting.values())
        raise invalid("There is no function_call_output for this call.", f"input[{place}].call_id")
    return earlier


def check_answers(own: Sequence[Body], earlier: Sequence[int], newest: Sequence[Message]) -> None:
    """Raises `ApiError` unless the results at the positions `earlier` answer all open calls of `newest`, each once."""
    waiting = {call["id"] for message in newest for call in message.get("tool_calls", ())}
    waiting -= {message["tool_call_id"] for message in newest if message["role"] == "tool"}
    for place in earlier:
        if own[place]["call_id"] not in waiting:
            raise invalid("No call with this id waits for its output.", f"input[{place}].call_id")
        waiting.discard(own[place]["call_id"])
    if earlier and waiting:
        raise invalid("Another call of the same turn still waits for its output: send all of them.", "input")


def chat_request(body: ResponseRequest, own: Sequence[Body], earlier: Sequence[int]) -> ChatRequest:
    """Returns the chat for `body`.

    Results of earlier calls are placed right after the instructions, since in a chat they follow their calls.
    """
    said = [item for place, item in enumerate(own) if place not in set(earlier)]
    lead = next((n for n, item in enumerate(said) if item.get("role") not in INSTRUCTIONS), len(said))
    ordered = [*said[:lead], *(own[place] for place in earlier), *said[lead:]]
    messages: list[Message] = items.messages(ordered)
    if body.instructions:
        messages.insert(0, {"role": "system", "content": body.instructions})
    search = body.file_search
    chat = {
        "model": body.model,
        "messages": messages,
        "stream": body.stream,
        "temperature": body.temperature,
        "top_p": body.top_p,
        "max_completion_tokens": body.max_output_tokens,
        "tools": _tools(body),
        "tool_choice": _tool_choice(body),
        "parallel_tool_calls": body.parallel_tool_calls,
        "response_format": _format(body),
        "strategy": body.strategy,
        "approvals": body.approvals,
        "knowledge": search.model_dump(exclude={"type"}, exclude_none=True) if search is not None else None,
    }
    return validate(ChatRequest, {name: value for name, value in chat.items() if value is not None})


def _tools(body: ResponseRequest) -> list[dict[str, Any]] | None:
    if not body.functions:
        return None
    functions: Iterable[dict[str, Any]] = (t.model_dump(exclude_none=True, exclude={"type"}) for t in body.functions)
    return [{"type": "function", "function": function} for function in functions]


def _tool_choice(body: ResponseRequest) -> str | dict[str, Any] | None:
    """Returns which functions are called; a required search, which takes place anyway, needs none."""
    choice = body.tool_choice
    if isinstance(choice, FunctionChoice):
        return {"type": "function", "function": {"name": choice.name}}
    if isinstance(choice, FileSearchChoice) or (choice == "required" and body.file_search is not None):
        return "auto" if body.functions else None
    return choice if body.functions or body.file_search is None else None


def _format(body: ResponseRequest) -> dict[str, Any] | None:
    asked = body.text.format if body.text is not None else None
    if isinstance(asked, SchemaTextFormat):
        schema = asked.model_dump(exclude_none=True, by_alias=True, exclude={"type"})
        return {"type": "json_schema", "json_schema": schema}
    return asked.model_dump() if asked is not None else None
