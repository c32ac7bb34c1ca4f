"""Responses that go on from others or from a conversation, and what is kept of them."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest

from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.inference.responses.scripted import HI, TOOL, both
from tests.contract.running import hang_up
from tests.store.captures import keep
from tests.wait import eventually


@both
@pytest.mark.parametrize("model", ["calls", "no-ids"])
def test_calls_are_answered(world, stream, model):
    tools = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "look"}, "parallel_tool_calls": False}
    first = world.ask("look", model, stream, **tools)
    sent = world.engine.asked[-1]
    assert sent["tools"] == [{"type": "function", "function": {k: v for k, v in TOOL.items() if k != "type"}}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "look"}}
    assert sent["parallel_tool_calls"] is first.parallel_tool_calls is False
    assert first.tools[0].name == first.tool_choice.name == "look"
    assert [(c.type, c.name, json.loads(c.arguments)["at"]) for c in first.output] == [
        ("function_call", "look", "the sea"),
        ("function_call", "look", "the sky"),
    ]
    one, two = (c.call_id for c in first.output)
    assert one != two
    if model == "calls":
        assert (one, two) == ("call_1", "call_2")
    outputs = [{"type": "function_call_output", "call_id": c, "output": c} for c in (two, one)]
    second = world.ask(outputs, model, stream, previous_response_id=first.id)
    assert second.output_text == f'echo "{one}" and more'
    assert world.shown() == [("user", "look"), ("assistant", None), ("tool", two), ("tool", one)]
    assert [c["id"] for c in world.engine.prompt[1]["tool_calls"]] == [one, two]
    # The client can keep the state itself: what the API gives, it takes.
    own = [{"role": "user", "content": "look"}, *(c.model_dump() for c in first.output), *outputs]
    world.ask(own, model, stream, store=False)
    assert world.shown() == [("user", "look"), ("assistant", None), ("tool", two), ("tool", one)]
    # Even an assistant without memory is shown the call, and all of it is one turn.
    world.ask(outputs, "forgets", stream, previous_response_id=first.id)
    assert world.shown()[1:] == [("user", "look"), ("assistant", None), ("tool", two), ("tool", one)]
    third = world.ask("next", "two", stream, previous_response_id=second.id)
    assert third.model_extra["headrace"]["memory"] == {"turns": 1, "left_out": 0}


@pytest.mark.parametrize(
    ("model", "turns"), [("forgets", 0), ("two", 2), ("echo", 4)], ids=["none", "buffer", "token_window"]
)
@both
def test_memory_follows_the_assistants_setting(world, model, turns, stream):
    previous = None
    for n in range(4):
        previous = world.ask(str(n), previous_response_id=previous).id
    response = world.ask("now", model, stream, previous_response_id=previous)
    assert response.previous_response_id == previous
    assert response.model_extra["headrace"]["memory"] == {"turns": turns, "left_out": 4 - turns}
    assert [c for r, c in world.shown() if r == "user"] == [*(str(n) for n in range(4 - turns, 4)), "now"]
    body = {"model": model, "input": "now", "previous_response_id": previous, "truncation": "disabled"}
    refused = world.http.post("/v1/responses", json=body | {"stream": stream})
    assert refused.status_code == (200 if turns == 4 else 400)
    if turns < 4:
        assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_responses_branch(world):
    root = world.ask("root").id
    left, right = world.ask("left", previous_response_id=root).id, world.ask("right", previous_response_id=root).id
    for previous, name in ((left, "left"), (right, "right")):
        world.ask("leaf", previous_response_id=previous)
        assert [c for r, c in world.shown() if r == "user"] == ["root", name, "leaf"]


@both
def test_a_deleted_response_is_out_of_its_chain(world, stream):
    ids = []
    for n in range(3):
        ids.append(world.ask(str(n), previous_response_id=ids[-1] if ids else None).id)
    assert world.sdk.responses.delete(ids[1]) is None
    gone = world.http.delete(f"/v1/responses/{ids[1]}")
    assert gone.status_code == 404
    with pytest.raises(openai.NotFoundError):
        world.sdk.responses.retrieve(ids[1])
    assert world.sdk.responses.retrieve(ids[2]).previous_response_id == ids[1]
    response = world.ask("now", stream=stream, previous_response_id=ids[2])
    assert [c for r, c in world.shown() if r == "user"] == ["0", "2", "now"]
    assert response.model_extra["headrace"]["memory"] == {"turns": 2, "left_out": 0}
    with pytest.raises(openai.NotFoundError) as error:
        world.ask("now", stream=stream, previous_response_id=ids[1])
    assert error.value.param == "previous_response_id"


@pytest.mark.parametrize("deleted", [0, 1], ids=["the call", "its result"])
def test_calls_and_results_are_shown_together(world, deleted):
    """Engines refuse a call without its result, and a result without its call."""
    first = world.ask("look", "calls", tools=[TOOL])
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "a boat"} for c in first.output]
    second = world.ask(outputs, "calls", previous_response_id=first.id)
    third = world.ask("third", previous_response_id=second.id)
    world.sdk.responses.delete([first, second][deleted].id)
    world.ask("now", previous_response_id=third.id)
    before = [("assistant", second.output_text)] if deleted == 0 else [("user", "look")]
    assert world.shown() == [*before, ("user", "third"), ("assistant", 'echo "third" and more'), ("user", "now")]
    assert not any("tool_calls" in m for m in world.engine.prompt)


def test_a_result_after_words_is_shown_with_its_call_for_ever(world):
    first = world.ask("look", "calls", tools=[TOOL])
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "a boat"} for c in first.output]
    second = world.ask([{"role": "user", "content": "and?"}, *outputs], previous_response_id=first.id)
    world.ask("third", previous_response_id=second.id)
    shown = world.engine.prompt
    call = next(i for i, message in enumerate(shown) if message.get("tool_calls"))
    answered = [m["tool_call_id"] for m in shown[call + 1 :] if m["role"] == "tool"]
    assert answered == [c["id"] for c in shown[call]["tool_calls"]] == [c.call_id for c in first.output]


def test_unanswered_calls_are_omitted(world):
    first = world.ask("look", "calls", tools=[TOOL])
    world.ask("never mind", previous_response_id=first.id)
    assert world.shown() == [("user", "look"), ("user", "never mind")]


@both
def test_a_response_continues_a_conversation(world, stream):
    id = world.sdk.conversations.create(items=[{"role": "user", "content": "zero"}]).id
    first = world.ask("one", stream=stream, conversation=id)
    assert first.conversation.id == id
    second = world.ask("two", stream=stream, conversation={"id": id})
    assert [c for r, c in world.shown() if r == "user"] == ["zero", "one", "two"]
    items = list(world.sdk.conversations.items.list(id, order="asc"))
    assert [i.content[0].text for i in items[1:]] == ["one", first.output_text, "two", second.output_text]
    assert (items[2].id, items[4].id) == (first.output[0].id, second.output[0].id)
    assert items[1].id == world.sdk.responses.input_items.list(first.id).data[0].id
    # A response of a conversation can be followed: by what was said up to it, and apart from the conversation.
    branch = world.ask("branch", stream=stream, previous_response_id=first.id)
    assert [c for r, c in world.shown() if r == "user"] == ["zero", "one", "branch"]
    assert branch.model_extra["headrace"]["memory"] == {"turns": 2, "left_out": 0}
    assert len(list(world.sdk.conversations.items.list(id))) == 5
    world.sdk.responses.delete(first.id)
    world.ask("leaf", stream=stream, previous_response_id=branch.id)
    assert [c for r, c in world.shown() if r == "user"] == ["zero", "branch", "leaf"]
    assert len(list(world.sdk.conversations.items.list(id))) == 5
    world.sdk.conversations.delete(id)
    assert world.sdk.responses.retrieve(second.id).output_text == second.output_text
    with pytest.raises(openai.NotFoundError) as error:
        world.ask("x", stream=stream, conversation=id)
    assert error.value.param == "conversation"


def test_a_call_of_a_conversation_is_answered(world):
    id = world.sdk.conversations.create().id
    first = world.ask("look", "calls", conversation=id)
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "a boat"} for c in first.output]
    branch = world.ask(outputs, "calls", previous_response_id=first.id)
    assert [r for r, _ in world.shown()] == ["user", "assistant", "tool", "tool"]
    answered = world.ask(outputs, "calls", conversation=id)
    assert [r for r, _ in world.shown()] == ["user", "assistant", "tool", "tool"]
    for previous in (branch, answered):
        world.ask("next", previous_response_id=previous.id)
        assert [r for r, _ in world.shown()] == ["user", "assistant", "tool", "tool", "assistant", "user"]


@both
def test_store_false_stores_no_response(world, stream):
    first = world.ask("one").id
    response = world.ask("two", stream=stream, store=False, previous_response_id=first)
    assert [c for r, c in world.shown() if r == "user"] == ["one", "two"]
    assert response.model_dump()["store"] is False
    with pytest.raises(openai.NotFoundError):
        world.sdk.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        world.ask("three", previous_response_id=response.id)


def test_a_response_is_stored_before_the_final_event(world, monkeypatch):
    store, record = world.up.services.captures, world.up.services.captures.record
    begun, go, seen = threading.Event(), threading.Event(), []

    async def held(*args, **more):
        begun.set()
        while not go.is_set():
            await asyncio.sleep(0.01)
        await record(*args, **more)

    def read():
        body = {"model": "echo", "input": "hi", "stream": True}
        with world.http.stream("POST", "/v1/responses", json=body) as response:
            seen.extend(response.iter_text())

    monkeypatch.setattr(store, "record", held)
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read)
        assert begun.wait(60)
        eventually(lambda: " more" in "".join(seen), "the text has left")
        assert "output_text.done" not in "".join(seen)
        go.set()
        reading.result(60)
    assert "response.completed" in "".join(seen)


@pytest.mark.parametrize("field", ["previous_response_id", "conversation"])
@both
def test_deleting_the_previous_response_meanwhile_is_an_error(world, field, stream):
    made = world.sdk.conversations.create() if field == "conversation" else world.ask("first")
    world.engine.release.clear()
    seen = len(world.engine.asked)
    body = {"model": "slow", "input": "hi", field: made.id, "stream": stream}
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(world.http.post, "/v1/responses", json=body)
        eventually(lambda: len(world.engine.asked) > seen, "the engine is asked")
        (world.sdk.conversations if field == "conversation" else world.sdk.responses).delete(made.id)
        world.engine.release.set()
        response = asking.result(60)
    assert response.status_code == (200 if stream else 404)
    assert f'"param":"{field}"' in response.text
    assert '"completed"' not in response.text


@both
def test_item_references_resolve_to_stored_items(world, stream):
    """As Vercel's client goes on: the user's messages themselves, and the answers by their ids."""
    first = world.ask("one", stream=stream)
    refer = [{"type": "item_reference", "id": item.id} for item in first.output]
    again = world.ask([{**HI, "content": "one"}, *refer, {**HI, "content": "two"}], stream=stream)
    assert world.shown() == [("user", "one"), ("assistant", first.output_text), ("user", "two")]
    listed = list(world.sdk.responses.input_items.list(again.id, order="asc"))
    assert [item.content[0].text for item in listed] == ["one", first.output_text, "two"]
    assert not {item.id for item in listed} & {item.id for item in first.output}
    counted = {"model": "counts", "input": refer}
    assert world.http.post("/v1/responses/input_tokens", json=counted).json()["input_tokens"] > 0
    mallory = world.up.loop.do(key_of(world.up.services, Principal("default", "mallory", "")))
    stolen = world.http.post(
        "/v1/responses", json={"model": "echo", "input": refer}, headers={"Authorization": f"Bearer {mallory}"}
    )
    assert (stolen.status_code, stolen.json()["error"]["param"]) == (404, "input[0].id")
    unkept = world.ask("three", stream=stream, store=False).output[0].id
    asked = {"model": "echo", "input": [{"type": "item_reference", "id": unkept}]}
    assert world.http.post("/v1/responses", json=asked).status_code == 404


def test_a_disconnect_stores_nothing(world):
    world.engine.release.clear()
    conversation = world.sdk.conversations.create().id
    body = {"model": "slow", "input": "hi", "conversation": conversation}
    seen = len(world.engine.asked)
    hang_up(world.http, body, lambda: len(world.engine.asked) > seen, "/v1/responses")
    eventually(lambda: world.up.services.admission._active == 0, "the request ends")
    world.engine.release.set()
    assert list(world.sdk.conversations.items.list(conversation)) == []


@both
def test_concurrent_clients_lose_nothing(world, stream):
    """In a conversation they are kept one after the other; after a response they are branches."""
    conversation, root = world.sdk.conversations.create().id, world.ask("root").id
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: world.ask(f"question {n}", stream=stream, conversation=conversation), range(12)))
        ids = list(pool.map(lambda n: world.ask(f"{n}", stream=stream, previous_response_id=root).id, range(12)))
    texts = [i.content[0].text for i in world.sdk.conversations.items.list(conversation, order="asc")]
    assert sorted(texts[::2]) == sorted(f"question {n}" for n in range(12))
    assert texts[1::2] == [f'echo "{text}" and more' for text in texts[::2]]
    assert len(set(ids)) == 12
    assert {world.sdk.responses.retrieve(id).previous_response_id for id in ids} == {root}


@pytest.mark.parametrize(
    ("answers", "param"),
    [(["call_1"], "input"), (["call_1", "call_9"], "input[1].call_id"), (["call_2", "call_2"], "input[1].call_id")],
    ids=["not all", "another", "twice"],
)
def test_results_must_answer_the_open_calls(world, answers, param):
    first = world.ask("look", "calls", tools=[TOOL])
    outputs = [{"type": "function_call_output", "call_id": c, "output": "x"} for c in answers]
    with pytest.raises(openai.BadRequestError) as error:
        world.ask(outputs, "calls", previous_response_id=first.id)
    assert error.value.param == param


def test_a_call_that_was_answered_waits_no_more(world):
    first = world.ask("look", "calls", tools=[TOOL])
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "x"} for c in first.output]
    second = world.ask(outputs, "calls", previous_response_id=first.id)
    with pytest.raises(openai.BadRequestError):
        world.ask(outputs, "calls", previous_response_id=second.id)


def test_a_stored_response_can_be_deleted_but_not_cancelled_or_streamed(world):
    id = world.ask("hi").id
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        world.sdk.responses.cancel(id)
    with pytest.raises(openai.BadRequestError) as error:
        world.sdk.responses.retrieve(id, stream=True)
    assert error.value.param == "stream"
    assert world.http.get(f"/v1/responses/{id}?stream=maybe").status_code == 400
    assert world.http.delete(f"/v1/responses/{id}").json() == {"id": id, "object": "response", "deleted": True}


def test_another_tenants_response_is_a_404(world):
    mallory = Principal(tenant="evil", user="mallory", key_id="key_m")
    body = world.http.post("/v1/responses", json={"model": "echo", "input": "hi", "store": False}).json()
    world.up.loop.do(keep(world.up.services.responses, mallory, body, [{**HI, "id": "msg_1", "type": "message"}]))
    id = body["id"]
    for method, path in (
        ("GET", id),
        ("DELETE", id),
        ("POST", f"{id}/cancel"),
        ("GET", f"{id}/input_items"),
    ):
        response = world.http.request(method, f"/v1/responses/{path}")
        assert response.status_code == 404, (method, path)
        assert id not in response.text
    with pytest.raises(openai.NotFoundError) as error:
        world.ask("x", previous_response_id=id)
    assert error.value.param == "previous_response_id"
    assert world.up.loop.do(world.up.services.responses.get(mallory, id)).body == body


@both
def test_tool_results_are_not_searched_for(world, stream):
    first = world.ask("Look at the sea.", "reads-calls", stream, tools=[TOOL])
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "a boat"} for c in first.output]
    second = world.ask(outputs, "reads-calls", stream, previous_response_id=first.id)
    assert second.output_text == 'echo "a boat" and more'
    assert "The sea is deep." not in str(world.engine.prompt)
