"""The Responses API as OpenAI's client drives it: answers, their events, and requests that are wrong."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.responses import Response

from serving.store.errors import StoreUnavailable
from tests.contract.inference.responses.scripted import HI, TOOL, both


@both
def test_an_answer(world, stream):
    response = world.ask("hi", stream=stream, instructions="Be kind.", temperature=0.5, metadata={"a": "b"})
    assert response.output_text == 'echo "hi" and more'
    assert (response.status, response.model, response.object) == ("completed", "echo", "response")
    assert (response.temperature, response.metadata, response.instructions) == (0.5, {"a": "b"}, "Be kind.")
    assert response.usage.input_tokens == 7
    assert response.usage.input_tokens_details.cached_tokens == 2
    assert (response.usage.output_tokens, response.usage.total_tokens) == (3, 10)
    assert world.shown() == [("system", "Be kind."), ("user", "hi")]
    assert world.engine.asked[-1]["temperature"] == 0.5
    assert Response.model_validate(response.model_dump(), strict=True)
    assert world.sdk.responses.retrieve(response.id) == response


@both
def test_a_response_has_every_field_that_clients_check(world, stream):
    """What is not set is OpenAI's default, and an assistant's temperature is that of its responses."""
    fields = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "service_tier")
    plain = world.ask("hi", stream=stream, tools=[TOOL]).model_dump(exclude_unset=True)
    assert [plain[name] for name in fields] == [1, 1, 0, 0, 0, "default"]
    unset = ("max_tool_calls", "prompt_cache_key", "safety_identifier")
    assert [plain[name] for name in unset] == [None] * 3
    assert plain["tools"] == [{**TOOL, "description": None, "strict": None}]
    assert "temperature" not in world.engine.asked[-1], "the engine keeps its own"
    assert world.ask("hi", "cool", stream).temperature == world.engine.asked[-1]["temperature"] == 0.25
    assert world.ask("hi", "cool", stream, temperature=0, top_p=0).temperature == 0


def test_a_text_is_streamed_by_events_in_openais_order(world):
    events = world.events("hi")
    assert [e.type for e in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 4,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    final = events[-1].response
    assert {e.response.id for e in events if hasattr(e, "response")} == {final.id}
    assert [e.response.status for e in events[:2]] == ["in_progress"] * 2
    [item] = final.output
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert "".join(e.delta for e in deltas) == events[-4].text == final.output_text == 'echo "hi" and more'
    assert {(e.item_id, e.output_index, e.content_index) for e in deltas} == {(item.id, 0, 0)}
    assert events[2].item.id == item.id
    assert events[-2].item == item
    assert world.sdk.responses.retrieve(final.id) == final


def test_raw_events_are_named_by_their_types_as_the_sdk_expects(world):
    with world.sdk.responses.stream(model="echo", input="hi") as stream:
        assert stream.get_final_response().output_text == 'echo "hi" and more'
    raw = world.http.post("/v1/responses", json={"model": "echo", "input": "hi", "stream": True}).text
    assert "[DONE]" not in raw
    for block in raw.strip().split("\n\n"):
        event, data = block.split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == event.removeprefix("event: ")


def test_the_events_of_calls(world):
    events = world.events("look", "calls", tools=[TOOL])
    assert [e.type for e in events[2:-1]] == [
        *["response.output_item.added", *["response.function_call_arguments.delta"] * 2] * 2,
        *["response.function_call_arguments.done", "response.output_item.done"] * 2,
    ]
    final = events[-1].response
    for index, item in enumerate(final.output):
        mine = [e for e in events if getattr(e, "output_index", None) == index]
        assert {getattr(e, "item_id", item.id) for e in mine} == {item.id}
        assert "".join(e.delta for e in mine if e.type.endswith(".delta")) == mine[-2].arguments == item.arguments
        assert mine[0].item.call_id == item.call_id


def test_a_text_after_calls_keeps_its_place(world):
    events = world.events("look", "calls-first")
    added = [e.item.id for e in events if e.type == "response.output_item.added"]
    done = [e.item.id for e in events if e.type == "response.output_item.done"]
    output = events[-1].response.output
    assert [o.id for o in output] == added == done
    assert [o.type for o in output] == ["function_call", "function_call", "message"]


@both
def test_a_response_that_ran_out_of_tokens_is_incomplete(world, stream):
    response = world.ask("hi", "long", stream, max_output_tokens=5)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (response.max_output_tokens, world.engine.asked[-1]["max_tokens"]) == (5, 5)
    assert response.output[0].status == "incomplete"
    assert world.sdk.responses.retrieve(response.id) == response


def test_an_incomplete_stream_has_the_status_incomplete(world):
    assert world.events("hi", "long")[-1].type == "response.incomplete"


@both
def test_an_answer_without_a_word_and_a_refusal(world, stream):
    response = world.ask("hi", "says-nothing", stream)
    assert (response.output_text, [o.type for o in response.output]) == ("", ["message"])
    [item] = world.ask("hi", "refuses", stream).output
    assert [(c.type, c.refusal) for c in item.content] == [("refusal", "I must not.")]


@both
@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
)
def test_the_text_format_reaches_the_engine(world, stream, asked, sent):
    response = world.ask("hi", stream=stream, text={"format": asked})
    assert world.engine.asked[-1]["response_format"] == sent
    assert response.text.format.to_dict() == asked


def test_input_of_every_kind_reaches_the_engine(world):
    items = [
        {"role": "developer", "content": "Rhyme."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"role": "assistant", "content": "b"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,YW5jaG9y"},
            ],
        },
    ]
    response = world.ask(items, instructions="Be brief.")
    assert [m["role"] for m in world.engine.prompt] == ["system", "system", "user", "assistant", "user"]
    *shown, file = world.engine.prompt[-1]["content"]
    assert shown == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
    ]
    assert "a.txt\n\nanchor" in file["text"]
    kept = list(world.sdk.responses.input_items.list(response.id, order="asc"))
    assert [(i.type, i.role) for i in kept] == [("message", r) for r in ("developer", "user", "assistant", "user")]
    assert len({i.id for i in kept}) == 4
    again = world.sdk.responses.input_items.list(response.id, limit=3)
    assert [i.id for i in again.data] == [i.id for i in kept[:0:-1]]
    assert again.has_more
    assert [i.id for i in world.sdk.responses.input_items.list(response.id, limit=1)] == [i.id for i in kept[::-1]]
    with pytest.raises(openai.BadRequestError) as error:
        world.sdk.responses.input_items.list(response.id, after="msg_none")
    assert error.value.param == "after"
    # Instructions belong to a request; what a program said stays.
    world.ask("next", "two", previous_response_id=response.id)
    assert [m["role"] for m in world.engine.prompt] == ["system", "system", *["user", "assistant"] * 2, "user"]
    assert world.engine.prompt[1]["content"] == "Rhyme."


@both
def test_citations_are_annotations_of_the_output(world, stream):
    response = world.ask("How deep is the sea?", "reads-echo", stream)
    [annotation] = response.output[0].content[0].annotations
    assert (annotation.type, annotation.start_index, annotation.end_index) == ("url_citation", 0, 4)
    assert (annotation.title, annotation.url) == ("Sea", f"{world.up.url}/v1/files/file-1/content")
    assert response.model_extra["headrace"]["citations"][0]["quote"] == "The sea is deep."
    kept = world.sdk.responses.retrieve(response.id)
    assert kept.output == response.output
    assert "headrace" not in kept.model_extra  # a quote is not kept beyond its file
    assert world.sdk.responses.input_items.list(response.id).data[0].content[0].text == "How deep is the sea?"


def test_an_event_announces_a_citation(world):
    events = world.events("How deep is the sea?", "reads-echo")
    [cited] = [e for e in events if e.type == "response.output_text.annotation.added"]
    assert cited.annotation.url == f"{world.up.url}/v1/files/file-1/content"
    assert cited.item_id == events[-1].response.output[0].id


@both
def test_an_assistant_refuses_when_its_documents_do_not_answer(world, stream):
    asked = len(world.engine.asked)
    response = world.ask("What is fire?", "reads-echo", stream)
    assert (response.output_text, response.status) == ("I do not know.", "completed")
    assert response.usage.total_tokens == 0
    assert len(world.engine.asked) == asked
    follows = world.ask("What is ice?", "reads-echo", stream, previous_response_id=response.id)
    assert follows.model_extra["headrace"]["memory"] == {"turns": 0, "left_out": 1}


@pytest.mark.parametrize("model", ["cut", "error", "odd"])
def test_a_stream_that_fails(world, model):
    events = world.events("hi", model)
    assert [e.type for e in events[-2:]] == ["error", "response.failed"]
    assert events[-2].code == "engine_error"
    failed = events[-1].response
    assert (failed.status, failed.error.code, failed.output) == ("failed", "server_error", [])
    with pytest.raises(openai.NotFoundError):
        world.sdk.responses.retrieve(failed.id)


@pytest.mark.parametrize("model", ["status-500", "no-choices", "odd"])
def test_an_answer_that_fails(world, model):
    with pytest.raises(openai.InternalServerError) as error:
        world.ask("hi", model)
    assert error.value.status_code == 502


def test_a_stream_that_never_begins_is_an_error(world):
    with pytest.raises(openai.InternalServerError):
        world.events("hi", "status-500")


@both
@pytest.mark.parametrize("model", ["echo", "reads-echo"])
def test_a_store_that_fails_ends_the_answer_with_an_error(world, stream, model, monkeypatch):
    async def fails(*args, **more):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(world.up.services.captures, "record", fails)
    if not stream or model == "reads-echo":  # a fixed answer is kept before its stream begins
        with pytest.raises(openai.InternalServerError) as error:
            (world.events if stream else world.ask)("hi", model)
        assert error.value.code == "unavailable"
        return
    events = world.events("hi", model)
    assert (events[-2].type, events[-2].code) == ("error", "unavailable")
    assert (events[-1].type, events[-1].response.output) == ("response.failed", [])
    assert "response.completed" not in {e.type for e in events}


OUTPUT = {"type": "function_call_output", "call_id": "call_9", "output": "x"}


CALL = {"type": "function_call", "call_id": "call_9", "name": "look", "arguments": "{}"}


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"previous_response_id": "resp_none"}, 404, "previous_response_id"),
        ({"previous_response_id": "\ud7ff"}, 404, "previous_response_id"),
        ({"previous_response_id": ""}, 400, "previous_response_id"),
        ({"previous_response_id": "x" * 129}, 400, "previous_response_id"),
        ({"conversation": "conv_none"}, 404, "conversation"),
        ({"conversation": "conv_none", "previous_response_id": "resp_none"}, 400, "previous_response_id"),
        ({"conversation": "conv_none", "store": False}, 400, "store"),
        ({"model": "nobody"}, 404, "model"),
        ({"input": []}, 400, "input"),
        ({"input": None}, 400, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, 400, "input"),
        ({"input": [OUTPUT]}, 400, "input[0].call_id"),
        ({"input": [OUTPUT, CALL]}, 400, "input[1].call_id"),
        ({"input": [CALL, OUTPUT, OUTPUT]}, 400, "input[2].call_id"),
        ({"input": [HI, CALL]}, 400, "input[1].call_id"),
        ({"input": [{**CALL, "call_id": ""}]}, 400, "input[0].call_id"),
        ({"input": [{k: v for k, v in CALL.items() if k != "call_id"}]}, 400, "input[0].call_id"),
        ({"input": [{k: v for k, v in OUTPUT.items() if k != "call_id"}]}, 400, "input[0].call_id"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 404, "input[0].id"),
        ({"input": [HI, {"type": "item_reference", "id": f"msg_{'0' * 40}"}]}, 404, "input[1].id"),
        ({"input": [{"type": "item_reference", "id": ""}]}, 400, "input[0].id"),
        ({"input": [HI] * 31}, 400, "input"),
        ({"input": "x" * 10_001}, 400, "input"),
        ({"instructions": "x" * 10_001}, 400, "input"),
        ({"background": True, "store": False}, 400, "store"),
        ({"prompt": {"id": "pmpt_1"}}, 404, "prompt.id"),
        ({"include": ["message.output_text.logprobs"]}, 400, "include"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, 400, "tools[0]"),
        ({"tools": [{"type": "function", "name": "a b"}]}, 400, "tools[0].name"),
        ({"tool_choice": {"type": "function", "name": "look"}}, 400, "tool_choice.name"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        ({"max_output_tokens": 0}, 400, "max_output_tokens"),
        ({"temperature": 3}, 400, "temperature"),
        ({"truncation": "some"}, 400, "truncation"),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format"),
        ({"metadata": {"a": "x" * 513}}, 400, "metadata"),
        ({"metadata": {str(n): "" for n in range(17)}}, 400, "metadata"),
    ],
)
def test_invalid_requests_name_the_parameter_and_reach_no_engine(world, change, status, param):
    asked = len(world.engine.asked)
    for path in ("/v1/responses", "/v1/responses/input_tokens"):
        response = world.http.post(path, json={"model": "echo", "input": "hi", "stream": True} | change)
        assert response.status_code == status, response.text
        assert response.json()["error"]["param"] == param
    assert len(world.engine.asked) == asked


@pytest.mark.parametrize(
    "change",
    [
        {"include": ["reasoning.encrypted_content"], "user": "u", "reasoning": {"summary": "auto"}},
        {"store": None, "stream": None, "background": False, "metadata": None, "conversation": None, "tools": []},
        {"temperature": None, "text": {"verbosity": "medium"}, "service_tier": "auto", "top_logprobs": 0},
    ],
)
def test_fields_without_effect_are_accepted(world, change):
    response = world.http.post("/v1/responses", json={"model": "echo", "input": "hi"} | change)
    assert response.status_code == 200
    assert response.json()["store"]


def test_an_engine_that_counts_no_tokens_is_not_guessed_for(world):
    with pytest.raises(openai.BadRequestError) as error:
        world.sdk.responses.input_tokens.count(model="echo", input="hi")
    assert error.value.code == "unsupported_content"


def test_tokens_are_counted_as_they_would_be_read(world):
    count = world.sdk.responses.input_tokens.count
    assert count(model="counts", input="one two", instructions="three").input_tokens == 3
    first = world.ask("one two").id  # 2 words, and 4 of the answer
    answer = count(model="counts", input="x", previous_response_id=first)
    assert (answer.object, answer.input_tokens) == ("response.input_tokens", 8)
    assert count(model="reads-counts", input="How deep is the sea?").input_tokens > 9
    assert count(model="reads-counts", input="What is fire?").input_tokens == 0  # no model would be asked
    assert world.sdk.responses.retrieve(first).id == first
