"""Responses by a strategy, as OpenAI's client reads them: a real server, store and sandbox before a scripted engine."""

from __future__ import annotations

import json

import openai
import pytest
from openai.types.responses import Response

from serving.core.uninterrupted import uninterrupted
from serving.store.errors import StoreUnavailable
from serving.store.relational.tables import captures
from tests.contract.inference.test_strategies import CHUNK, PROGRAM, Engine, Retrieval, catalog
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

STEP = [
    "response.output_item.added",
    "response.reasoning_summary_part.added",
    "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.done",
    "response.reasoning_summary_part.done",
    "response.output_item.done",
]
ANSWER = [
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
]


class World:
    def __init__(self, up, engine, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, engine, sdk, http

    def says(self, *says):
        self.engine.says, self.engine.asked = list(says), []

    def ask(self, *says, stream=False, model="bare", input="What is 6 * 7?", strategy=None, **more):
        """Returns the response that OpenAI's client reads, whole or from the last event of a stream."""
        if stream:
            return self.events(*says, model=model, input=input, strategy=strategy, **more)[-1].response
        self.says(*says)
        return self.sdk.responses.create(model=model, input=input, extra_body=own(strategy), **more)

    def events(self, *says, model="bare", input="What is 6 * 7?", strategy=None, **more):
        self.says(*says)
        events = list(
            self.sdk.responses.create(model=model, input=input, stream=True, extra_body=own(strategy), **more)
        )
        assert [e.sequence_number for e in events] == list(range(len(events)))
        return events

    def captured(self, id):
        caller = self.up.loop.do(self.up.services.authenticate(self.http.headers["authorization"]))

        @uninterrupted
        async def read():
            async with self.up.services.database.read() as connection:
                query = captures.select().where(captures.c.id == id, captures.c.tenant == caller.tenant)
                return (await connection.execute(query)).mappings().one()

        return self.up.loop.do(read())


def own(strategy):
    return {"strategy": strategy} if strategy is not None else None


def thoughts(response):
    return [item.summary[0].text for item in response.output if item.type == "reasoning"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        models = catalog(f"http://127.0.0.1:{port}/v1")
        with (
            gateway(loop, tmp_path_factory.mktemp("responses"), models, retrieval=Retrieval()) as up,
            up.sdk() as sdk,
            up.client() as http,
        ):
            yield World(up, scripted, sdk, http)


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
def test_steps_are_reasoning_before_the_message(world, stream):
    act = "Thought: compute\nAction: calculator\nAction Input: 6 * 7"
    response = world.ask(act, "Final Answer: 42", stream=stream, strategy="react")
    assert [item.type for item in response.output] == ["reasoning", "reasoning", "reasoning", "message"]
    assert thoughts(response) == ["thought: compute", "action calculator: 6 * 7", "observation calculator: 42"]
    assert {item.status for item in response.output} == {"completed"}
    assert all(item.id.startswith("rs_") for item in response.output[:3])
    assert len({item.id for item in response.output}) == 4
    assert (response.output_text, response.status) == ("42", "completed")
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (20, 10, 30)
    assert response.usage.output_tokens_details.reasoning_tokens == 5  # the answer's own are none
    assert response.model_extra["headrace"]["strategy"] == "react"
    assert Response.model_validate(response.model_dump(), strict=True)
    kept = world.sdk.responses.retrieve(response.id)
    assert kept.output == response.output
    assert "headrace" not in kept.model_extra


def test_the_events_of_steps_and_answer(world):
    events = world.events("#### 1", "Done.\n#### 2", "#### 2", model="voter")
    types = ["response.created", "response.in_progress", *STEP * 4, *ANSWER, "response.completed"]
    assert [e.type for e in events] == types
    final = events[-1].response
    assert thoughts(final) == ["thought: #### 1", "thought: Done.\n#### 2", "thought: #### 2", "vote: 2: 2 of 3"]
    for index, item in enumerate(final.output):
        mine = [e for e in events if getattr(e, "output_index", None) == index]
        assert {getattr(e, "item_id", item.id) for e in mine} == {item.id}
        assert mine[0].item.status == "in_progress"
        assert mine[-1].item == item
        if item.type == "reasoning":
            assert (mine[0].item.summary, mine[1].part.text) == ([], "")
            assert mine[2].delta == mine[3].text == mine[4].part.text == item.summary[0].text


def test_openais_sdk_streams_the_steps_of_a_strategy(world):
    world.says(PROGRAM)
    with world.sdk.responses.stream(model="pal", input="?") as stream:
        final = stream.get_final_response()
    assert (final.output_text, len(thoughts(final))) == ("42", 2)


@both
def test_the_stream_and_the_whole_say_the_same_of_an_answer_without_steps(world, stream):
    response = world.ask("It is 42.", stream=stream, model="caller")
    assert [item.type for item in response.output] == ["message"]
    assert response.output_text == "It is 42."
    assert response.usage.output_tokens_details.reasoning_tokens == 0


def test_steps_are_streamed_and_a_disconnect_stops_the_strategy(world):
    world.engine.gone.clear()
    world.says("#### 1", "hang")
    conversation = world.sdk.conversations.create().id
    body = {"model": "voter", "input": "?", "stream": True, "conversation": conversation}
    with world.http.stream("POST", "/v1/responses", json=body) as response:
        done = next(line for line in response.iter_lines() if line.startswith('data: {"type":"response.output_item.d'))
        assert json.loads(done.removeprefix("data: "))["item"]["summary"][0]["text"] == "thought: #### 1"
        assert not world.engine.gone.is_set()
    assert world.engine.gone.wait(60)
    eventually(lambda: world.up.services.admission._active == 0, "the request ends")
    assert list(world.sdk.conversations.items.list(conversation)) == []


@both
def test_a_limit_makes_it_incomplete(world, stream):
    response = world.ask(*["Thought: again\nAction: time"] * 7, stream=stream, strategy="react")
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert thoughts(response)[-1] == "limit: the steps are used up"
    assert (response.output[-1].type, response.output[-1].status) == ("message", "incomplete")
    assert world.sdk.responses.retrieve(response.id).output == response.output


def test_an_engine_that_fails_first_is_an_error_and_later_ends_the_stream(world):
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError) as error:
            (world.events if stream else world.ask)("fail", strategy="cot")
        assert error.value.code == "engine_error"
    events = world.events("#### 1", "fail", model="voter")
    assert [e.type for e in events[2:]] == [*STEP, "error", "response.failed"]
    assert (events[-1].response.status, events[-1].response.output) == ("failed", [])
    with pytest.raises(openai.NotFoundError):
        world.sdk.responses.retrieve(events[-1].response.id)


@both
def test_a_store_that_fails_ends_the_answer_with_an_error(world, stream, monkeypatch):
    async def fails(*args, **more):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(world.up.services.captures, "record", fails)
    if not stream:
        with pytest.raises(openai.InternalServerError) as error:
            world.ask("#### 1", strategy="cot")
        assert error.value.code == "unavailable"
        return
    events = world.events("#### 1", strategy="cot")
    assert (events[-2].type, events[-2].code) == ("error", "unavailable")
    assert (events[-1].type, events[-1].response.output) == ("response.failed", [])


@both
def test_history_excludes_strategy_steps(world, stream):
    first = world.ask("Six sevens.\n#### 42", stream=stream, strategy="cot")
    second = world.ask("#### 43", stream=stream, strategy="cot", previous_response_id=first.id, input="And one more?")
    assert second.model_extra["headrace"]["memory"] == {"turns": 1, "left_out": 0}
    shown = world.engine.asked[0]["messages"]
    assert [m["content"] for m in shown[:2]] == ["What is 6 * 7?", "42"]
    assert shown[2]["content"].startswith("And one more?\n")
    # The client can keep the state itself: what the API gives, it takes.
    mine = [
        {"role": "user", "content": "?"},
        *(item.model_dump() for item in first.output),
        {"role": "user", "content": "!"},
    ]
    world.ask("ok", stream=stream, input=mine, store=False)
    assert [m["content"] for m in world.engine.asked[0]["messages"]] == ["?", "42", "!"]


@both
def test_a_conversation_stores_each_message_once(world, stream):
    conversation = world.sdk.conversations.create().id
    first = world.ask("Six sevens.\n#### 42", stream=stream, strategy="cot", conversation=conversation)
    again = [
        *(item.model_dump() for item in first.output if item.type == "reasoning"),
        {"role": "user", "content": "2?"},
    ]
    world.ask("#### 2", stream=stream, strategy="cot", conversation=conversation, input=again)
    assert [m["content"] for m in world.engine.asked[0]["messages"][:2]] == ["What is 6 * 7?", "42"]
    items = list(world.sdk.conversations.items.list(conversation, order="asc"))
    assert [(i.role, i.content[0].text) for i in items] == [
        ("user", "What is 6 * 7?"),
        ("assistant", "42"),
        ("user", "2?"),
        ("assistant", "2"),
    ]
    assert items[1].id == first.output[-1].id


@both
def test_answers_of_strategies_are_cited(world, stream):
    deep = {"stream": stream, "input": "How deep is the sea?"}
    response = world.ask("The sea.\nThe answer is 42 m.", model="reader", strategy="cot", **deep)
    [annotation] = response.output[-1].content[0].annotations
    assert (annotation.url, annotation.end_index) == (f"{world.up.url}/v1/files/file-1/content", 5)
    assert response.model_extra["headrace"]["citations"][0]["quote"] == CHUNK.text
    look = "Thought: look\nAction: retrieval\nAction Input: sea"
    response = world.ask(look, "Final Answer: 42 m", model="searcher", stream=stream, input="How deep is it?")
    assert response.output[-1].content[0].annotations[0].title == "Sea"
    assert len(thoughts(response)) == 3
    response = world.ask("#### 41", "#### 42 m", "#### 0", model="both", **deep)
    assert CHUNK.text in world.engine.asked[0]["messages"][0]["content"]


@both
def test_no_strategy_runs_without_search_results(world, stream):
    response = world.ask(model="reader", strategy="cot", stream=stream, input="How high is the sky?")
    assert response.output_text.startswith("I found nothing")
    assert [item.type for item in response.output] == ["message"]
    assert world.engine.asked == []


@both
def test_the_capture_has_the_steps_and_not_the_items(world, stream):
    response = world.ask(PROGRAM, model="pal", stream=stream)
    captured = world.captured(response.id)
    assert [step["kind"] for step in captured["steps"]] == ["program", "result"]
    assert captured["answer"][0]["message"]["content"] == "42"


TOOL = {"type": "function", "name": "f", "parameters": {}}
JSON = {"format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"strategy": "magic"}, "strategy"),
        ({"model": "strict", "strategy": "pal"}, "strategy"),
        ({"model": "toolless", "strategy": "react"}, "strategy"),
        ({"strategy": "cot", "tools": [TOOL]}, "tools"),
        ({"strategy": "cot", "text": JSON}, "text.format"),
        ({"strategy": "cot", "input": [{"role": "system", "content": "x"}]}, "input"),
        ({"strategy": "cot", "model": "small", "input": "word " * 500}, "input"),
    ],
)
def test_conflicting_options_are_rejected(world, body, param):
    world.says()
    response = world.http.post("/v1/responses", json={"model": "bare", "input": "hi", "stream": True, **body})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert world.engine.asked == []


def test_truncation_disabled_applies_to_strategies(world):
    first = world.ask("x" * 1200, input="y" * 1200)
    more = {"model": "small", "strategy": "cot", "previous_response_id": first.id, "max_output_tokens": 64}
    assert world.ask("#### 1", **more).model_extra["headrace"]["memory"] == {"turns": 0, "left_out": 1}
    with pytest.raises(openai.BadRequestError) as error:
        world.ask("#### 1", **more, truncation="disabled")
    assert error.value.code == "context_length_exceeded"


def test_the_direct_strategy_is_unchanged(world):
    response = world.ask("42", model="voter", strategy="direct")
    assert [item.type for item in response.output] == ["message"]
    counted = world.http.post("/v1/responses/input_tokens", json={"model": "voter", "input": "hi"})
    assert (counted.status_code, counted.json()["error"]["param"]) == (400, "strategy")
