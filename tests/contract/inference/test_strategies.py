"""Chat completions by a strategy: a real server, store and sandbox before a scripted engine."""

from __future__ import annotations

import asyncio
import json
import threading

import numpy as np
import pytest
from aiohttp import web

from serving.config import (
    Assistant,
    Catalog,
    FactsMemory,
    ProgramAided,
    React,
    ReactCotSc,
    RemoteModel,
    SelfConsistency,
    SummaryMemory,
    VectorMemory,
)
from serving.retrieval.types import Attribution, Citation, Hit, Position
from serving.store.summaries import Summaries
from tests.contract.running import Loop, engine, gateway, hang_up
from tests.wait import eventually

PROGRAM = "```python\ndef solution():\n    return 6 * 7\n```"
CHUNK = Hit("c", "file-1", "sea.md", "Sea", "", "The sea is 42 m deep.", 0, 21, None, 0.9, 0.9, 0.0)


class Engine:
    """Says what `says` has next, one choice a request; "hang" waits until the caller is gone, "fail" is a 500."""

    def __init__(self):
        self.says = []
        self.asked = []
        self.gone = threading.Event()

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        return app

    async def chat(self, request):
        body = await request.json()
        self.asked.append(body)
        said = self.says.pop(0) if self.says else f"The answer is {len(body['messages'])}"
        if said == "fail":
            return web.json_response({"error": {"message": "no"}}, status=500)
        if said == "refuse":
            return web.json_response({"error": {"message": "n must be 1"}}, status=400)
        if said == "hang":
            while request.transport is not None and not request.transport.is_closing():
                await asyncio.sleep(0.01)
            self.gone.set()
            return web.Response()
        if isinstance(said, dict) and "choices" in said:
            return web.json_response(said)
        message = said if isinstance(said, dict) else {"content": said}
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        return web.json_response({"id": "theirs", "model": "theirs", "choices": [choice], "usage": usage})


class Retrieval:
    """Finds a chunk for the sea; cites it for every answer with a number. All texts are alike to it."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        if method == "embed":
            return np.ones((len(args[0]), 384), dtype=np.float32), 0
        if method == "attribute":
            answer, hits = args
            if "42" not in answer:
                return Attribution((), ())
            (hit,) = hits
            where = Position(hit.start, hit.end, None)
            return Attribution(
                (Citation(0, len(answer), hit.file_id, hit.file_name, hit.title, hit.text, where, 0.9),), ()
            )
        return [CHUNK] if "sea" in args[2] else []


class World:
    def __init__(self, up, engine, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, engine, sdk, http

    def ask(self, *says, model="bare", stream=False, content="What is 6 * 7?", **more):
        """Returns the response to a question, which the engine answers with `says`."""
        self.engine.says, self.engine.asked = list(says), []
        messages = [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, "stream": stream, **more}
        return self.http.post("/v1/chat/completions", json=body)

    def answer(self, *says, **more):
        """Returns (message, whole document) of an answer that is not streamed."""
        response = self.ask(*says, **more)
        assert response.status_code == 200, response.text
        document = response.json()
        return document["choices"][0]["message"], document

    def settle(self):
        eventually(lambda: not self.up.loop.do(self.up.services.jobs.unfinished()), "memory's jobs end", 30)

    @property
    def caller(self):
        return self.up.loop.do(self.up.services.authenticate(self.http.headers["authorization"]))


def kinds(message):
    return [step["kind"] for step in message["headrace"]["steps"]]


def catalog(url):
    """Returns assistants of every strategy on the engine at `url`."""
    return Catalog(
        models=(RemoteModel(name="bare", url=url), RemoteModel(name="small", url=url, context=2048)),
        assistants=(
            Assistant(name="voter", model="bare", prompt="Be brief.", strategy=SelfConsistency(samples=3)),
            Assistant(name="pal", model="bare", strategy=ProgramAided(repairs=0)),
            Assistant(name="strict", model="bare", strategies=("cot",), tools=()),
            Assistant(name="toolless", model="bare", tools=()),
            Assistant(name="reader", model="bare", knowledge=("docs",)),
            Assistant(name="caller", model="bare", strategy=React(protocol="tools")),
            Assistant(
                name="both",
                model="bare",
                knowledge=("docs",),
                tools=("retrieval",),
                strategy=ReactCotSc(first="self_consistency", samples=2),
            ),
            Assistant(name="facts", model="small", memory=FactsMemory(turns=0, tokens=2000)),
            Assistant(name="summary", model="small", memory=SummaryMemory()),
            Assistant(name="vector", model="small", memory=VectorMemory(turns=0, tokens=2000, min_score=-1)),
            Assistant(
                name="searcher",
                model="bare",
                knowledge=("docs",),
                tools=("retrieval",),
                strategy=React(steps=3),
            ),
        ),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        models = catalog(f"http://127.0.0.1:{port}/v1")
        folder = tmp_path_factory.mktemp("strategies")
        with gateway(loop, folder, models, retrieval=Retrieval()) as up, up.sdk() as sdk, up.client() as http:
            yield World(up, scripted, sdk, http)


def test_a_request_chooses_its_strategy(world):
    message, document = world.answer("Six sevens.\nThe answer is 42.", strategy="cot")
    assert message["content"] == "42."
    assert message["reasoning_content"] == "thought: Six sevens.\nThe answer is 42.\n"
    (step,) = message["headrace"]["steps"]
    assert (step["kind"], step["text"], step["tokens"]) == ("thought", "Six sevens.\nThe answer is 42.", 5)
    assert message["headrace"]["strategy"] == "cot"
    assert document["model"] == "bare"
    assert document["id"].startswith("chatcmpl-")
    details = {"completion_tokens_details": {"reasoning_tokens": 5}, "prompt_tokens_details": {"cached_tokens": 0}}
    assert document["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, **details}
    (asked,) = world.engine.asked
    assert asked["messages"][0]["content"].startswith("What is 6 * 7?\n")
    assert not asked.get("stream")


def test_direct_is_as_it_was(world):
    message, _ = world.answer("It is 42.", strategy="direct")
    assert message == {"role": "assistant", "content": "It is 42.", "refusal": None, "annotations": []}
    assert world.engine.asked[0]["messages"][0]["content"] == "What is 6 * 7?"


def test_an_assistant_has_its_strategy_and_usage_is_the_sum(world):
    message, document = world.answer("#### 7", "#### 42", "#### 42", model="voter", seed=3, max_tokens=100)
    assert message["content"] == "42"
    assert kinds(message) == ["thought", "thought", "thought", "vote"]
    details = {"completion_tokens_details": {"reasoning_tokens": 15}, "prompt_tokens_details": {"cached_tokens": 0}}
    assert document["usage"] == {"prompt_tokens": 30, "completion_tokens": 15, "total_tokens": 45, **details}
    asked = world.engine.asked
    assert [a.get("n") for a in asked] == [3, 2, None]
    assert [a["seed"] for a in asked] == [3, 4, 5]  # one seed would give one sample three times
    assert {a["temperature"] for a in asked} == {0.7}
    assert {a["max_tokens"] for a in asked} == {100}
    assert asked[0]["messages"][0] == {"role": "system", "content": "Be brief."}


def test_samples_are_requested_singly_without_n_support(world):
    message, _ = world.answer("refuse", "#### 1", "#### 2", "#### 2", model="voter")
    assert message["content"] == "2"
    assert [a.get("n") for a in world.engine.asked] == [3, None, None, None]


def test_programs_run(world):
    message, _ = world.answer(PROGRAM, model="pal")
    assert message["content"] == "42"
    assert kinds(message) == ["program", "result"]


def test_tools_are_called_in_text(world):
    message, document = world.answer(
        "Thought: compute\nAction: calculator\nAction Input: 6 * 7", "Final Answer: 42", strategy="react", stop="!"
    )
    assert message["content"] == "42"
    assert message["headrace"]["steps"][1]["name"] == "calculator"
    assert message["reasoning_content"] == "thought: compute\naction calculator: 6 * 7\nobservation calculator: 42\n"
    assert document["usage"]["total_tokens"] == 30
    assert world.engine.asked[0]["stop"] == ["!", "\nObservation:"]


def test_tools_are_called_by_an_engine_that_can(world):
    call = {"id": "x", "type": "function", "function": {"name": "calculator", "arguments": '{"expression": "6 * 7"}'}}
    message, _ = world.answer({"content": None, "tool_calls": [call]}, "It is 42.", model="caller")
    assert message["content"] == "It is 42."
    assert kinds(message) == ["action", "observation"]
    first, second = world.engine.asked
    assert [t["function"]["name"] for t in first["tools"]] == ["calculator", "python", "time"]
    assert second["messages"][-1]["role"] == "tool"
    assert second["messages"][-1]["content"] == "42"


def test_a_stream_brings_steps_then_the_answer(world):
    world.engine.says = ["#### 1", "Done.\n#### 2", "#### 2"]
    chunks = list(
        world.sdk.chat.completions.create(
            model="voter",
            messages=[{"role": "user", "content": "?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *parts, usage = chunks
    deltas = [c.choices[0].delta for c in parts]
    assert deltas[0].role == "assistant"
    reasoning = [d.model_extra["reasoning_content"] for d in deltas if "reasoning_content" in (d.model_extra or {})]
    assert reasoning == ["thought: #### 1\n", "thought: Done.\n#### 2\n", "thought: #### 2\n", "vote: 2: 2 of 3\n"]
    assert [d.content for d in deltas if d.content] == ["2"]
    assert parts[-1].choices[0].finish_reason == "stop"
    assert [s["kind"] for s in deltas[-1].model_extra["headrace"]["steps"]][-1] == "vote"
    assert usage.usage.total_tokens == 45
    assert {c.id for c in chunks} == {chunks[0].id}
    assert {c.model for c in chunks} == {"voter"}


def test_steps_are_streamed(world):
    world.engine.gone.clear()
    world.engine.says = ["#### 1", "hang"]
    body = {"model": "voter", "messages": [{"role": "user", "content": "?"}], "stream": True}
    with world.http.stream("POST", "/v1/chat/completions", json=body) as response:
        first = next(line for line in response.iter_lines() if line)
        assert "thought: #### 1" in json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["reasoning_content"]
        assert not world.engine.gone.is_set()
    assert world.engine.gone.wait(60)  # hanging up ended the engine's work


def test_an_early_disconnect_stops_the_strategy(world):
    world.engine.gone.clear()
    world.engine.says, world.engine.asked = ["hang"], []
    body = {"model": "bare", "messages": [{"role": "user", "content": "?"}], "strategy": "react"}
    hang_up(world.http, body, lambda: world.engine.asked)
    assert world.engine.gone.wait(60)
    eventually(lambda: world.up.services.engines._remotes["bare"]._in_flight == 0)


def test_an_engine_that_fails_is_an_error(world):
    response = world.ask("fail", strategy="cot")
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "engine_error"


def test_an_engine_that_fails_in_the_middle_ends_the_stream_with_an_error(world):
    response = world.ask("#### 1", "fail", model="voter", stream=True)
    assert response.status_code == 200
    *_, last = [line for line in response.text.split("\n") if line]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_error"
    assert "[DONE]" not in response.text


@pytest.mark.parametrize(
    "said",
    [
        {"choices": []},
        {"choices": None},
        {"choices": [{}]},
        {"choices": [{"message": {"content": 5}}]},
        {"choices": [{"message": {"tool_calls": [{"id": "x"}]}}]},
        {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": "many"}},
    ],
)
def test_an_engine_that_does_not_speak_the_protocol_is_an_error(world, said):
    assert world.ask(said, strategy="cot").status_code == 502


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"strategy": "magic"}, "strategy"),
        ({"strategy": 1}, "strategy"),
        ({"model": "strict", "strategy": "pal"}, "strategy"),
        ({"model": "toolless", "strategy": "react"}, "strategy"),
        ({"strategy": "cot", "n": 2}, "n"),
        ({"strategy": "cot", "logprobs": True}, "logprobs"),
        ({"strategy": "cot", "response_format": {"type": "json_object"}}, "response_format"),
        ({"strategy": "cot", "tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"strategy": "cot", "messages": [{"role": "system", "content": "x"}]}, "messages"),
    ],
)
def test_conflicting_options_are_rejected(world, body, param):
    response = world.ask(**body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert world.engine.asked == []


def test_requests_can_choose_allowed_strategies(world):
    message, _ = world.answer("#### 1", model="strict", strategy="cot")
    assert message["content"] == "1"
    assert world.ask("hi", model="strict", strategy="direct").status_code == 200  # its own


def test_a_prompt_that_does_not_fit_is_refused(world):
    response = world.ask(model="small", content="word " * 500, strategy="cot")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert world.engine.asked == []


def test_a_dialogue_that_fills_the_context_ends(world):
    act = "Thought: again\nAction: time\nAction Input: UTC"
    message, document = world.answer(*[act] * 6, model="small", strategy="react", max_tokens=50, content="x" * 500)
    assert document["choices"][0]["finish_reason"] == "length"
    assert message["headrace"]["steps"][-1]["text"] == "the model's context is full"


def test_endless_programs_are_stopped_and_reported(world):
    message, document = world.answer(*["Thought: again\nAction: time"] * 7, strategy="react")
    assert (message["content"], document["choices"][0]["finish_reason"]) == ("", "length")
    assert message["headrace"]["steps"][-1] == {
        "kind": "limit",
        "text": "the steps are used up",
        "tokens": 0,
        "seconds": message["headrace"]["steps"][-1]["seconds"],
    }
    assert len(world.engine.asked) == 6


def test_an_answer_has_citations_and_steps(world):
    message, _ = world.answer(
        "The sea.\nThe answer is 42 m.", model="reader", strategy="cot", content="How deep is the sea?"
    )
    assert message["content"] == "42 m."
    assert message["annotations"][0]["url_citation"]["url"] == f"{world.up.url}/v1/files/file-1/content"
    assert message["headrace"]["citations"][0]["quote"] == CHUNK.text
    assert kinds(message) == ["thought"]
    assert CHUNK.text in world.engine.asked[0]["messages"][0]["content"]


def test_no_strategy_runs_without_search_results(world):
    message, _ = world.answer(model="reader", strategy="cot", content="How high is the sky?")
    assert message["content"].startswith("I found nothing")
    assert world.engine.asked == []


def test_the_model_can_call_the_search_tool(world):
    search = "Thought: look\nAction: retrieval\nAction Input: {}"
    says = (search.format("sky"), search.format("sea"), "Final Answer: 42 m")
    message, _ = world.answer(*says, model="searcher", content="How deep is it?")
    observations = [s["text"] for s in message["headrace"]["steps"] if s["kind"] == "observation"]
    assert observations == ["Nothing was found.", f"[1] Sea: {CHUNK.text}"]
    assert message["headrace"]["citations"][0]["file_id"] == "file-1"
    assert message["headrace"]["retrieved"] == 1
    message, _ = world.answer("Final Answer: 42 m", model="searcher")
    assert message["headrace"]["citations"] == []


def test_samples_that_vote_have_the_excerpts_before_them(world):
    message, _ = world.answer("#### 41", "#### 42 m", "#### 0", model="both", content="How deep is the sea?")
    assert CHUNK.text in world.engine.asked[0]["messages"][0]["content"]
    assert message["content"] == "41"
    assert message["headrace"]["retrieved"] == 1


def test_parameters_owned_by_the_strategy_are_not_forwarded(world):
    world.answer("#### 1", strategy="cot", tool_choice="none", response_format={"type": "text"}, top_p=0.5)
    (asked,) = world.engine.asked
    assert asked["top_p"] == 0.5
    assert not {"tool_choice", "response_format", "tools"} & set(asked)


def test_a_conversation_stores_and_shows_the_answer(world):
    conversation = world.sdk.conversations.create().id
    message, _ = world.answer("Six sevens.\n#### 42", strategy="cot", conversation=conversation)
    assert message["headrace"]["memory"] == {"turns": 0, "left_out": 0}
    items = list(world.sdk.conversations.items.list(conversation, order="asc"))
    assert [(i.role, i.content[0].text) for i in items] == [("user", "What is 6 * 7?"), ("assistant", "42")]
    message, _ = world.answer("#### 43", strategy="cot", conversation=conversation, content="And one more?")
    assert message["headrace"]["memory"] == {"turns": 1, "left_out": 0}
    shown = world.engine.asked[0]["messages"]
    assert [m["content"] for m in shown[:2]] == ["What is 6 * 7?", "42"]
    assert shown[2]["content"].startswith("And one more?\n")


def test_memory_leaves_room_for_the_strategy(world):
    conversation = world.sdk.conversations.create().id
    world.answer("x" * 600, conversation=conversation, content="y" * 600)
    message, _ = world.answer("#### 1", model="small", strategy="cot", conversation=conversation, max_tokens=64)
    assert message["headrace"]["memory"] == {"turns": 0, "left_out": 1}
    message, _ = world.answer("1", model="small", conversation=conversation, max_tokens=64)
    assert message["headrace"]["memory"] == {"turns": 2, "left_out": 0}


X = "x" * 400


def know(world, conversation):
    """The profile has three facts."""
    for n in range(3):
        assert world.http.post("/v1/memories", json={"assistant": "facts", "text": f"{X} {n}"}).status_code == 200


def tell(world, conversation):
    """The conversation has a turn, and a summary of it."""
    world.answer("ho", conversation=conversation)
    services, do = world.up.services, world.up.loop.do
    said = do(services.conversations.following(world.caller, conversation))
    do(Summaries(services.database).put(world.caller, None, said, 3 * X))


def say(world, conversation):
    """The conversation has a turn with an embedding."""
    world.answer(X, model="vector", conversation=conversation, content=X + X)
    world.settle()


@pytest.mark.parametrize(("kind", "remember"), [("facts", know), ("summary", tell), ("vector", say)])
def test_memory_of_each_kind_leaves_room_for_the_strategy(world, kind, remember):
    conversation = world.sdk.conversations.create().id
    remember(world, conversation)
    shown = {}
    for strategy in ("cot", "direct"):
        world.answer("#### 1", model=kind, strategy=strategy, conversation=conversation, max_tokens=64)
        shown[strategy] = json.dumps(world.engine.asked[0]["messages"]).count(X)
        world.settle()
    assert shown["cot"] < shown["direct"] == 3


@pytest.mark.parametrize("stream", [False, True])
def test_the_capture_has_the_steps(world, stream):
    response = world.ask(PROGRAM, model="pal", stream=stream, store=True)
    first = response.text.partition("\n")[0].removeprefix("data: ") if stream else response.text
    captured = captured_of(world, json.loads(first)["id"])
    assert [step["kind"] for step in captured.steps] == ["program", "result"]
    assert (captured.outcome, captured.prompt_tokens, captured.completion_tokens) == ("completed", 10, 5)
    assert captured.answer[0]["message"]["content"] == "42"


def test_a_strategy_that_breaks_off_is_captured_as_far_as_it_came(world):
    response = world.ask("The answer is 1", "fail", model="voter", stream=True, store=True)
    captured = captured_of(world, json.loads(response.text.partition("\n")[0].removeprefix("data: "))["id"])
    assert (captured.outcome, captured.answer) == ("error", [])
    assert captured.steps[0]["text"] == "The answer is 1"


def captured_of(world, id):
    return world.up.loop.do(world.up.services.captures.get(world.caller, id))
