"""The Messages API as Anthropic's client drives it: answers, their events, and what reaches the engine."""

from __future__ import annotations

import base64

import anthropic
import pytest
from anthropic.types import Message, MessageTokensCount

from tests.contract.guardrails.test_guardrails import ATTACK
from tests.contract.inference.messages.scripted import TOOL
from tests.contract.inference.responses.scripted import USAGE, both

PIXEL = "iVBORw0KGgo="


@both
def test_a_message(world, stream):
    message = world.ask(
        "hi", stream=stream, system="Be kind.", stop_sequences=["END"], extra_body={"temperature": 0.5, "top_p": 0.25}
    )
    assert [(block.type, block.text) for block in message.content] == [("text", 'echo "hi" and more')]
    assert (message.role, message.model, message.type) == ("assistant", "echo", "message")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    usage = message.usage
    cached = USAGE["prompt_tokens_details"]["cached_tokens"]
    assert (usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (cached, 0)
    assert usage.input_tokens + cached == USAGE["prompt_tokens"]
    assert usage.output_tokens == USAGE["completion_tokens"]
    assert Message.model_validate(message.model_dump(exclude={"content": {"__all__": {"parsed_output"}}}), strict=True)
    asked = world.engine.asked[-1]
    assert world.shown() == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
    assert [asked[name] for name in ("max_tokens", "temperature", "top_p", "stop")] == [64, 0.5, 0.25, ["END"]]


def test_the_events_of_a_text(world):
    events = world.events()
    assert [event["type"] for event in events] == [
        "message_start",
        "ping",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, end = events[0]["message"], events[-2]
    assert (start["content"], start["stop_reason"], start["id"][:4]) == ([], None, "msg_")
    assert {event["index"] for event in events if "index" in event} == {0}
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert "".join(delta["text"] for delta in deltas) == 'echo "hi" and more'
    assert end["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert end["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
    }


@both
def test_calls_and_their_results(world, stream):
    message = world.ask("look", "calls", stream, tools=[TOOL], tool_choice={"type": "any"})
    assert message.stop_reason == "tool_use"
    calls = [block for block in message.content if block.type == "tool_use"]
    assert [(c.id, c.name, c.input) for c in calls] == [
        ("call_1", "look", {"at": "the sea"}),
        ("call_2", "look", {"at": "the sky"}),
    ]
    asked = world.engine.asked[-1]
    function = {"name": "look", "parameters": TOOL["input_schema"]}
    assert (asked["tools"], asked["tool_choice"]) == ([{"type": "function", "function": function}], "required")
    results = [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "waves"}]},
        {"type": "tool_result", "tool_use_id": "call_2", "content": "no stars", "is_error": True},
        {"type": "text", "text": "And now?"},
    ]
    said = [{"role": "user", "content": "look"}, message.to_param(), {"role": "user", "content": results}]
    answer = world.ask(said, "echo", stream, tools=[TOOL])
    assert answer.content[0].text == 'echo "And now?" and more'
    call = [{"id": c.id, "type": "function", "function": {"name": "look", "arguments": None}} for c in calls]
    for each, at in zip(call, ("the sea", "the sky"), strict=True):
        each["function"]["arguments"] = f'{{"at":"{at}"}}'
    assert world.shown()[1:] == [
        {"role": "assistant", "tool_calls": call},
        {"role": "tool", "tool_call_id": "call_1", "content": "waves"},
        {"role": "tool", "tool_call_id": "call_2", "content": "Error: no stars"},
        {"role": "user", "content": "And now?"},
    ]


def test_a_text_and_two_calls_are_three_blocks_one_after_the_other(world):
    events = world.events(model="calls", tools=[TOOL])
    starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [(s["type"], s.get("input")) for s in starts] == [("tool_use", {})] * 2
    order = [(e["type"].rpartition("_")[2], e["index"]) for e in events if "index" in e]
    assert order == [step for n in (0, 1) for step in (("start", n), ("delta", n), ("delta", n), ("stop", n))]
    assert "".join(e["delta"]["partial_json"] for e in events if e.get("index") == 1 and "delta" in e) == (
        '{"at": "the sky"}'
    )


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        ({"type": "auto"}, ("auto", None)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", False)),
        ({"type": "tool", "name": "look"}, ({"type": "function", "function": {"name": "look"}}, None)),
        ({"type": "none"}, ("none", None)),
    ],
)
def test_the_choice_of_tools_reaches_the_engine(world, choice, asked):
    world.ask("hi", tools=[TOOL], tool_choice=choice)
    sent = world.engine.asked[-1]
    assert (sent["tool_choice"], sent.get("parallel_tool_calls")) == asked


@both
@pytest.mark.parametrize(
    ("model", "reason", "stop"),
    [("long", "max_tokens", None), ("stops", "stop_sequence", "END"), ("refuses", "end_turn", None)],
)
def test_why_a_message_ended(world, stream, model, reason, stop):
    message = world.ask("hi", model, stream, stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == (reason, stop)
    assert model != "refuses" or message.content[0].text == "I must not."
    if model == "stops":  # what the engine names is no sequence of this request
        assert world.ask("hi", model, stream).stop_reason == "end_turn"


@both
def test_a_message_without_a_word_has_no_block(world, stream):
    assert world.ask("hi", "says-nothing", stream).content == []


@both
def test_reasoning_of_a_model_is_thinking(world, stream):
    message = world.ask("hi", "thinks", stream)
    assert [(b.type, getattr(b, "thinking", None)) for b in message.content] == [("thinking", "Hmm."), ("text", None)]
    said = [{"role": "user", "content": "hi"}, message.to_param(), {"role": "user", "content": "and?"}]
    world.ask(said, "echo")
    assert world.shown()[1] == {"role": "assistant", "content": "ab"}, "earlier thinking is not in the prompt"


@both
def test_steps_of_a_strategy_are_thinking(world, stream):
    if stream:
        events = world.events(model="voter")
        thought = "".join(e["delta"].get("thinking", "") for e in events if e["type"] == "content_block_delta")
        told = events[-2]["headrace"]
    else:
        answer = world.post(model="voter").json()
        thought, told = answer["content"][0]["thinking"], answer["headrace"]
    assert (told["strategy"], len(told["steps"])) == ("self_consistency", 4)
    assert thought == "".join(f"{step['kind']}: {step['text']}\n" for step in told["steps"])


@both
def test_unknown_usage_is_null_and_not_zero(world, stream):
    told = world.events(model="unknown")[-2] if stream else world.post(model="unknown").json()
    assert (told["usage"]["input_tokens"], told["usage"]["output_tokens"]) == (None, None)


@both
def test_citations_of_an_assistants_documents(world, stream):
    message = world.ask("How deep is the sea?", "reads", stream)
    (cited,) = message.content[0].citations
    assert (cited.type, cited.cited_text, cited.title) == ("search_result_location", "The sea is deep.", "Sea")
    assert cited.source == f"{world.up.url}/v1/files/file-1/content"
    assert (cited.search_result_index, cited.start_block_index, cited.end_block_index) == (0, 0, 1)
    told = world.events(model="reads", messages=[{"role": "user", "content": "the sea"}])[-2]["headrace"]
    assert (told["retrieved"], told["citations"][0]["file_name"]) == (1, "sea.md")
    said = [{"role": "user", "content": "the sea"}, message.to_param(), {"role": "user", "content": "more of the sea"}]
    assert world.ask(said, "reads", stream).content[0].citations


@both
def test_a_refusal_of_an_assistant_asks_no_model(world, stream):
    asked = len(world.engine.asked)
    message = world.ask("What is for lunch?", "reads", stream)
    assert (message.content[0].text, message.usage.input_tokens) == ("I do not know.", 0)
    assert len(world.engine.asked) == asked


@both
def test_a_message_continues_a_conversation(world, stream):
    id = world.http.post("/v1/conversations", json={}).json()["id"]
    world.ask("first", stream=stream, extra_body={"conversation": id})
    world.ask("second", stream=stream, extra_body={"conversation": id})
    assert [m["content"] for m in world.shown()] == ["first", 'echo "first" and more', "second"]
    items = world.http.get(f"/v1/conversations/{id}/items", params={"order": "asc"}).json()["data"]
    assert [item["content"][0]["text"] for item in items][::2] == ["first", "second"]
    calls = world.ask("look", "calls", stream, tools=[TOOL], extra_body={"conversation": id})
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "waves"} for call in calls.content]
    world.ask([{"role": "user", "content": results}], stream=stream, extra_body={"conversation": id})
    assert [m["role"] for m in world.shown()][-4:] == ["user", "assistant", "tool", "tool"]


@both
def test_a_message_is_captured_charged_and_priced_as_a_chat(world, stream):
    before = world.http.get("/v1/usage").json()["data"][0]
    world.ask("hi", "priced", stream, extra_body={"store": True})
    after = world.http.get("/v1/usage").json()["data"][0]
    assert after["prompt_tokens"] - before["prompt_tokens"] == USAGE["prompt_tokens"]
    assert after["completion_tokens"] - before["completion_tokens"] == USAGE["completion_tokens"]
    kept = world.http.get("/v1/chat/completions", params={"order": "desc", "model": "priced"}).json()["data"][0]
    assert (kept["id"][:4], kept["choices"][0]["message"]["content"]) == ("msg_", 'echo "hi" and more')
    rated = {"target": {"type": "response", "id": kept["id"]}, "thumb": "up"}
    assert world.http.post("/v1/feedback", json=rated).status_code == 200
    told = world.events(model="priced")[-2] if stream else world.post(model="priced").json()
    assert told["headrace"]["cost"]["currency"] == "EUR"


def test_tokens_are_counted_as_an_answer_would_read_them(world):
    asked = {"model": "counts", "messages": [{"role": "user", "content": "one two three"}], "system": "Be brief."}
    counted = world.sdk.messages.count_tokens(**asked, tools=[TOOL])
    assert counted == MessageTokensCount(input_tokens=5)
    assert world.sdk.messages.count_tokens(**asked | {"model": "reads-counts"}).input_tokens == 0, "it would refuse"
    with pytest.raises(anthropic.BadRequestError, match="known in advance"):
        world.sdk.messages.count_tokens(**asked | {"model": "voter"})


def test_documents_and_pictures_reach_the_engine(world):
    text = base64.b64encode(b"The heron stands still.").decode()
    file = {"purpose": "user_data"}
    id = world.http.post("/v1/files", data=file, files={"file": ("ibis.txt", b"The ibis wades.")}).json()["id"]
    content = [
        {"type": "text", "text": "Read."},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "The stork flies."}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "text/plain", "data": text},
            "title": "On herons",
            "citations": {"enabled": False},
        },
        {"type": "document", "source": {"type": "file", "file_id": id}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
    ]
    world.ask([{"role": "user", "content": content}])
    read, *documents, picture = world.shown()[0]["content"]
    assert read == {"type": "text", "text": "Read."}
    wanted = ("The stork flies.", "On herons.txt\n\nThe heron stands still.", "ibis.txt\n\nThe ibis wades.")
    for part, text in zip(documents, wanted, strict=True):
        assert text in part["text"]
    assert picture == {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}


def test_json_by_a_schema(world):
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    world.ask("hi", output_config={"format": {"type": "json_schema", "schema": schema}})
    sent = world.engine.asked[-1]["response_format"]
    assert (sent["type"], sent["json_schema"]["schema"]) == ("json_schema", schema)


@both
def test_a_repetition_by_key_gets_the_same_message(world, stream):
    asked = len(world.engine.asked)
    first, again = (world.post(key=f"key-{stream}", stream=stream) for _ in range(2))
    assert first.text == again.text
    assert again.headers["idempotency-replayed"] == "true"
    assert first.headers["content-type"] == again.headers["content-type"]
    assert len(world.engine.asked) == asked + 1
    assert stream or first.json()["type"] == "message"


def test_the_beta_of_the_client_is_the_same_route(world):
    message = world.sdk.beta.messages.create(
        model="echo", max_tokens=8, messages=[{"role": "user", "content": "hi"}], betas=["none-2025-01-01"]
    )
    assert message.content[0].text == 'echo "hi" and more'


def test_a_blocked_text_is_named_where_it_stands(world):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    content = [image, {"type": "text", "text": ATTACK}]
    status, error = world.refused(model="guarded", messages=[{"role": "user", "content": content}])
    assert (status, error["code"], error["param"]) == (400, "content_filter", "messages[0].content[1].text")
    call = {"type": "tool_use", "id": "a", "name": "look", "input": {"at": "x"}}
    result = {"type": "tool_result", "tool_use_id": "a", "content": ATTACK}
    said = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert world.post(model="guarded", messages=said).status_code == 200
    assert ATTACK not in str(world.shown()), "the result is removed"
