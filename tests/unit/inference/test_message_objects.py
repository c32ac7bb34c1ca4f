"""Messages and chats: what a request becomes, where its parts stand, and what an answer becomes."""

from __future__ import annotations

from typing import Any

import pytest

from serving.config import Limits
from serving.inference.messages.chat import MessageChat
from serving.inference.messages.object import call_input, message, stopped, usage
from serving.protocol.errors import ApiError, invalid, no_model, rate_limited, timed_out, upstream
from serving.protocol.messages import errors
from serving.protocol.messages.requests import MessagesRequest

TEXT = {"type": "text", "text": "a"}
CALL = {"type": "tool_use", "id": "c", "name": "f", "input": {"x": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "c", "content": [TEXT, TEXT]}


def chat(*messages: dict[str, Any], **more: Any) -> MessageChat:
    request = MessagesRequest.model_validate({"model": "m", "max_tokens": 5, "messages": list(messages), **more})
    return MessageChat(request, Limits())


def user(*content: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("messages", "messages"),
        ("messages[0].role", "system"),
        ("messages[0].content[1].text", "system[1].text"),
        ("messages[1].content", "messages[0].content"),
        ("messages[2].content", "messages[1].content[0].text"),
        ("messages[2].tool_calls[0].function.arguments", "messages[1].content[1].input"),
        ("messages[2].tool_calls[0].function.name", "messages[1].content[1].name"),
        ("messages[2].tool_calls[0].id", "messages[1].content[1].id"),
        ("messages[3].tool_call_id", "messages[2].content[0].tool_call_id"),
        ("messages[3].content[1].text", "messages[2].content[0].content[1].text"),
        ("messages[4].content[1].text", "messages[2].content[2].text"),
        ("tools[0].function.parameters.properties", "tools[0].input_schema.properties"),
        ("tools[0].function.description", "tools[0].description"),
        ("stop[1]", "stop_sequences[1]"),
        ("tool_choice.function.name", "tool_choice.name"),
        ("model", "model"),
        (None, None),
    ],
)
def test_a_field_of_the_chat_is_named_where_it_stands_in_the_request(here: str | None, there: str | None) -> None:
    asked = chat(
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [TEXT, CALL]},
        user(RESULT, TEXT, TEXT),
        system=[TEXT, TEXT],
        tools=[{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    )
    with pytest.raises(ApiError) as named, asked.naming_fields():
        raise invalid("No.", here)
    assert named.value.param == there


def test_a_message_of_thinking_alone_has_no_text() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    asked = chat(user(TEXT), {"role": "assistant", "content": [thought]}, user(TEXT))
    assert [each.content for each in asked.body.messages] == ["a", "", "a"]


def test_a_choice_of_tools_without_tools_is_not_sent() -> None:
    assert chat(user(TEXT), tool_choice={"type": "auto"}).body.tool_choice is None


@pytest.mark.parametrize(
    ("given", "read"),
    [("", {}), ('{"a":1}', {"a": 1}), ('{"a":', {"INVALID_JSON": '{"a":'}), ("[1]", {"INVALID_JSON": "[1]"})],
)
def test_arguments_that_are_no_object_are_not_lost(given: str, read: dict[str, Any]) -> None:
    assert call_input(given) == read


def test_the_sum_of_a_messages_input_is_that_of_the_chat() -> None:
    given = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    told = usage(given)
    assert sum(told[name] for name in told if "input" in name) == 9
    assert (told["input_tokens"], told["output_tokens"]) == (5, 2)
    assert usage({})["input_tokens"] is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("stop", None, False), ("end_turn", None)),
        (("stop", "END", False), ("stop_sequence", "END")),
        (("stop", "other", False), ("end_turn", None)),
        (("stop", 128009, False), ("end_turn", None)),
        (("stop", None, True), ("tool_use", None)),
        (("tool_calls", None, True), ("tool_use", None)),
        (("length", None, True), ("max_tokens", None)),
        (("content_filter", None, False), ("refusal", None)),
        ((None, None, False), ("end_turn", None)),
    ],
)
def test_the_reason_why_a_message_ended(given: tuple[Any, Any, bool], told: tuple[str, str | None]) -> None:
    finish, matched, calls = given
    assert stopped(finish, matched, ["END"], calls=calls) == told


def test_a_refusal_is_a_text() -> None:
    choice = {"message": {"content": None, "refusal": "No."}, "finish_reason": "stop"}
    told = message({"id": "msg_1", "model": "m", "choices": [choice]}, ())
    assert [block["text"] for block in told["content"]] == ["No."]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (invalid("No.", "a"), "invalid_request_error"),
        (no_model("m"), "not_found_error"),
        (rate_limited("overloaded", "No.", {}), "rate_limit_error"),
        (upstream("No."), "api_error"),
        (timed_out(), "timeout_error"),
    ],
)
def test_errors_have_anthropics_types(error: ApiError, kind: str) -> None:
    assert f'"type":"{kind}"' in errors.body(error, "r").decode()
    assert errors.frame(error, "r") == b"event: error\ndata: " + errors.body(error, "r") + b"\n\n"
