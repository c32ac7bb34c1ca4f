"""Fields that do not exist: each is refused by name, and what clients send back with an answer is no mistake."""

from __future__ import annotations

import copy
from importlib import import_module
from typing import Any, get_type_hints

import pytest
from pydantic.json_schema import models_json_schema

from serving.api.operations import OPERATIONS
from serving.protocol import chat, conversations, responses
from serving.protocol.assistants import AssistantRequest
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import QUOTED, ApiError, quoted
from serving.protocol.parts import Body
from serving.protocol.responses import ResponseRequest
from serving.protocol.validation import MAX_ROUNDS, validate, validate_supported

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
RESPONSE: dict[str, Any] = {"model": "m", "input": "hi"}
BODIES = sorted({op.body for op in OPERATIONS if op.body is not None}, key=lambda body: body.__name__)


def said(*content: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def refused(model: type[Body], document: dict[str, Any]) -> ApiError:
    with pytest.raises(ApiError) as e:
        validate(model, document)
    return e.value


@pytest.mark.parametrize("model", BODIES, ids=lambda model: model.__name__)
def test_every_request_refuses_an_unknown_field_by_its_name(model: type[Body]) -> None:
    error = refused(model, {"zzqqxx": 1})
    assert (error.code, error.param) == ("unknown_parameter", "zzqqxx")
    assert error.message == "There is no field `zzqqxx` here."
    known = max(((info.alias or name) for name, info in model.model_fields.items()), key=len)
    assert f"did you mean `{known}`?" in refused(model, {f"{known}s": 1}).message


def test_every_object_in_a_request_has_only_declared_fields() -> None:
    _, schemas = models_json_schema([(body, "validation") for body in BODIES])
    objects = {name: each for name, each in schemas["$defs"].items() if "properties" in each}
    assert len(objects) > 100
    assert {name for name, each in objects.items() if each.get("additionalProperties") is not False} == set()


FIELD_PATHS = [
    (ChatRequest, CHAT | {"temprature": 1}, "temprature", "temperature"),
    (ChatRequest, {"model": "m", "mesages": []}, "mesages", "messages"),
    (ChatRequest, CHAT | said({"type": "text", "text": "a", "txt": 1}), "messages[0].content[0].txt", "text"),
    (ChatRequest, CHAT | {"conversation": {"id": "a", "idd": 1}}, "conversation.idd", "id"),
    (
        ChatRequest,
        CHAT | {"tools": [{"type": "function", "function": {"name": "a", "descripton": 1}}]},
        "tools[0].function.descripton",
        "description",
    ),
    (
        ChatRequest,
        CHAT | {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "schma": {}}}},
        "response_format.json_schema.schma",
        "schema",
    ),
    (
        ResponseRequest,
        RESPONSE | {"tools": [{"type": "function", "name": "f", "desciption": "x"}]},
        "tools[0].desciption",
        "description",
    ),
    (
        ResponseRequest,
        RESPONSE | {"tools": [{"type": "file_search", "vector_store_ids": ["a"], "max_num_result": 1}]},
        "tools[0].max_num_result",
        "max_num_results",
    ),
    (
        ResponseRequest,
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_text", "text": "a", "texts": 1}]}]},
        "input[0].content[0].texts",
        "text",
    ),
    (
        AssistantRequest,
        {"name": "a", "model": "m", "memory": {"kind": "buffer", "turn": 3}},
        "memory.turn",
        "turns",
    ),
]


@pytest.mark.parametrize(("model", "document", "path", "near"), FIELD_PATHS, ids=[case[2] for case in FIELD_PATHS])
def test_a_misspelt_field_is_named_with_its_place_and_what_was_meant(
    model: type[Body], document: dict[str, Any], path: str, near: str
) -> None:
    error = refused(model, document)
    assert (error.code, error.param) == ("unknown_parameter", path)
    assert error.message.endswith(f"did you mean `{near}`?")


def test_what_else_is_wrong_with_an_object_is_told_first() -> None:
    other_tool = RESPONSE | {"tool_choice": {"type": "mcp", "server_label": "x"}}
    assert refused(ResponseRequest, other_tool).param == "tool_choice"
    assert refused(ChatRequest, CHAT | {"model": 5, "temprature": 1}).param == "model"


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "`x` <b>", "", "ä" * 10, "n" * 65, "\x00"])
def test_only_the_form_of_a_name_is_in_param_and_only_printable_text_in_messages(name: str) -> None:
    error = refused(ChatRequest, CHAT | {name: "planted"})
    assert error.param is None
    inner = refused(ChatRequest, {"model": "m", "messages": [{"role": "user", "content": "a", name: "planted"}]})
    assert inner.param == "messages[0]"
    assert error.message.isprintable()
    assert error.message.count("`") == 2
    assert "planted" not in error.message + inner.message


def test_quoted_text_is_short() -> None:
    assert quoted("x" * QUOTED) == f"`{'x' * QUOTED}`"
    assert quoted("x" * 1_000_000) == f"`{'x' * QUOTED}...`"


def test_unsupported_fields_are_left_out_and_named() -> None:
    asked = CHAT | {
        "reasoning_effort": "high",
        "top_k": 3,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "a", "lang": "en"}]}],
        "seed": 5,
    }
    body, dropped = validate_supported(ChatRequest, copy.deepcopy(asked))
    assert set(dropped) == {"reasoning_effort", "top_k", "messages[0].content[0].lang"}
    assert (body.reasoning_effort, body.seed) == (None, 5)
    assert validate_supported(ChatRequest, copy.deepcopy(CHAT))[1] == ()
    # What has no form of a name cannot be in a header.
    assert validate_supported(ChatRequest, CHAT | {"a\r\nb": 1})[1] == ("?",)


@pytest.mark.parametrize("change", [{"temperature": 9}, {"messages": []}, {"model": 5}, {"tool_choice": {"a": 1}}])
def test_wrong_values_are_refused_where_unsupported_fields_are_left_out(change: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as e:
        validate_supported(ChatRequest, CHAT | {"top_k": 3} | change)
    assert e.value.param == next(iter(change))


def test_leaving_fields_out_takes_a_bounded_number_of_rounds() -> None:
    def many(count: int) -> dict[str, Any]:
        return CHAT | {"messages": [{"role": "user", "content": "x", "lang": "en"} for _ in range(count)]}

    with pytest.raises(ApiError) as e:
        validate_supported(ChatRequest, many(MAX_ROUNDS + 1))
    assert e.value.param == f"messages[{MAX_ROUNDS}].lang"
    assert len(validate_supported(ChatRequest, many(MAX_ROUNDS - 1))[1]) == MAX_ROUNDS - 1


OPENAIS: list[tuple[type[Body], str]] = [
    *(
        (chat.Message, f"chat.ChatCompletion{role}MessageParam")
        for role in ("System", "Developer", "User", "Assistant", "Tool")
    ),
    (chat.ToolCall, "chat.ChatCompletionMessageFunctionToolCallParam"),
    (chat.TextPart, "chat.ChatCompletionContentPartTextParam"),
    (chat.Function, "shared_params.FunctionDefinition"),
    (conversations.MessageItem, "responses.ResponseOutputMessageParam"),
    (conversations.MessageItem, "responses.EasyInputMessageParam"),
    (conversations.OutputText, "responses.ResponseOutputTextParam"),
    (conversations.Refusal, "responses.ResponseOutputRefusalParam"),
    (conversations.InputText, "responses.ResponseInputTextParam"),
    (conversations.InputImage, "responses.ResponseInputImageParam"),
    (conversations.InputFile, "responses.ResponseInputFileParam"),
    (conversations.FunctionCallItem, "responses.ResponseFunctionToolCallParam"),
    (conversations.FunctionCallOutputItem, "responses.response_input_item_param.FunctionCallOutput"),
    (responses.ReasoningItem, "responses.ResponseReasoningItemParam"),
    (responses.FileSearchCallItem, "responses.ResponseFileSearchToolCallParam"),
    (responses.FunctionTool, "responses.FunctionToolParam"),
    (responses.FileSearchTool, "responses.FileSearchToolParam"),
    (responses.ReasoningOptions, "shared_params.Reasoning"),
    (responses.TextOptions, "responses.ResponseTextConfigParam"),
    (responses.SchemaTextFormat, "responses.ResponseFormatTextJSONSchemaConfigParam"),
]


@pytest.mark.parametrize(("model", "params"), OPENAIS, ids=[params for _, params in OPENAIS])
def test_every_field_of_openais_objects_is_declared(model: type[Body], params: str) -> None:
    module, _, name = params.rpartition(".")
    fields = set(get_type_hints(getattr(import_module(f"openai.types.{module}"), name)))
    assert fields - {info.alias or field for field, info in model.model_fields.items()} == set()


def test_an_answer_can_be_sent_back_and_nothing_more_of_it_is_kept() -> None:
    message = {"role": "assistant", "content": "hi", "refusal": None, "annotations": [], "headrace": {"a": 1}}
    sent = {"model": "m", "messages": [*CHAT["messages"], message | {"reasoning_content": "so"}]}
    assert validate(ChatRequest, sent).messages[1].model_dump(exclude_none=True) == {
        "role": "assistant",
        "content": "hi",
    }
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": "hi"}
    body = validate(ResponseRequest, {"model": "m", "input": [item | {"phase": None, "created_at": 5}]})
    assert body.model_dump(exclude_unset=True, by_alias=True)["input"] == [
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hi"}],
        }
    ]
