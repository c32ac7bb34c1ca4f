"""The Responses API as OpenAI's client drives it: a real server and store before scripted engines."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from aiohttp import web
from openai.types.responses import Response

from serving.config import Assistant, BufferMemory, Catalog, Limits, NoMemory, RemoteModel
from serving.core.principal import Principal
from serving.retrieval.types import Attribution, Citation, Hit, Position, TextSpan
from serving.store.errors import StoreUnavailable
from tests.contract.running import Loop, engine, gateway, hang_up
from tests.store.captures import keep
from tests.wait import eventually

USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 3,
    "total_tokens": 10,
    "prompt_tokens_details": {"cached_tokens": 2},
}
MODELS = [
    *("echo", "calls", "no-ids", "long", "cut", "error", "status-500", "slow", "no-choices", "odd", "says-nothing"),
    *("refuses", "calls-first"),
]
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}


def call(id, at):
    return {"id": id, "type": "function", "function": {"name": "look", "arguments": json.dumps({"at": at})}}


class Engine:
    """An OpenAI-compatible endpoint that answers with the last message, and does what its `model` is called."""

    def __init__(self):
        self.asked = []
        self.release = threading.Event()

    @property
    def prompt(self):
        return self.asked[-1]["messages"]

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/tokenize", self.tokenize)
        return app

    async def tokenize(self, request):
        """A token for every word, in the shape of vLLM."""
        body = await request.json()
        if "messages" not in body:
            return web.json_response({"count": 1, "max_model_len": 1000})
        return web.json_response({"count": sum(len(m["content"].split()) for m in body["messages"])})

    async def chat(self, request):
        body = await request.json()
        self.asked.append(body)
        kind = body["model"]
        if kind == "status-500":
            return web.json_response({"error": {"message": "no"}}, status=500)
        if kind == "slow":
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        message, reason = answer(kind, body["messages"][-1])
        if not body.get("stream"):
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            return web.json_response({"choices": [] if kind == "no-choices" else choices, "usage": USAGE})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        frames = [frame(delta) for delta in deltas(message, calls_first=kind == "calls-first")]
        if kind == "error":
            frames.append(b'data: {"error": {"message": "broke"}}\n\n')
        await response.write(b"".join(frames) if kind == "error" else frames[0])
        for one in frames[1:] if kind != "error" else ():
            await response.write(one)
        if kind == "cut":
            return response
        await response.write(frame({}, reason))
        await response.write(f"data: {json.dumps({'choices': [], 'usage': USAGE})}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response


def answer(kind, last):
    message, reason = {"role": "assistant", "content": f'echo "{last["content"]}" and more'}, "stop"
    if kind in ("calls", "no-ids", "calls-first") and last["role"] == "user":
        calls = [call("call_1", "the sea"), call("call_2", "the sky")]
        message, reason = {"role": "assistant", "content": None, "tool_calls": calls}, "tool_calls"
        if kind == "calls-first":
            message["content"] = "I look."
        if kind == "no-ids":
            message["tool_calls"] = [{**c, "id": ""} for c in calls]
    if kind == "long":
        reason = "length"
    if kind == "odd":
        message["tool_calls"] = [{"id": "x"}]
    if kind == "says-nothing":
        message["content"] = ""
    if kind == "refuses":
        message = {"role": "assistant", "content": "", "refusal": "I must not."}
    return message, reason


def deltas(message, *, calls_first=False):
    calls, texts = [], []
    for index, one in enumerate(message.get("tool_calls") or ()):
        function = one.get("function", {"name": "", "arguments": ""})
        head = {**one, "index": index, "function": {"name": function["name"], "arguments": ""}}
        half = len(function["arguments"]) // 2
        pieces = [
            {"index": index, "function": {"arguments": a}}
            for a in (function["arguments"][:half], function["arguments"][half:])
        ]
        calls += [{"tool_calls": [piece]} for piece in (head, *pieces)]
    if content := message["content"]:
        words = content.split(" ")
        texts = [{"content": w} for w in [words[0], *(f" {w}" for w in words[1:])]]
    if refusal := message.get("refusal"):
        texts.append({"refusal": refusal})
    return [{"role": "assistant"}, *([*calls, *texts] if calls_first else [*texts, *calls])]


def frame(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'choices': [choice]})}\n\n".encode()


class Retrieval:
    """What retrieval answers: one chunk for a question about the sea, else nothing; the first four letters cite it."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        if method == "attribute":
            return Attribution((CITED,), (TextSpan(5, 8),))
        return [CHUNK] if "sea" in args[2] else []


CHUNK = Hit("c", "file-1", "sea.md", "Sea", "", "The sea is deep.", 0, 16, None, 0.9, 0.9, 0.0)
CITED = Citation(0, 4, "file-1", "sea.md", "Sea", "The sea is deep.", Position(0, 16, None), 0.9)


class World:
    def __init__(self, up, engine, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, engine, sdk, http

    def ask(self, input="hi", model="echo", stream=False, **more):
        """Returns the response that OpenAI's client reads, whole or from the last event of a stream."""
        if not stream:
            return self.sdk.responses.create(model=model, input=input, **more)
        return self.events(input, model, **more)[-1].response

    def events(self, input="hi", model="echo", **more):
        events = list(self.sdk.responses.create(model=model, input=input, stream=True, **more))
        assert [e.sequence_number for e in events] == list(range(len(events)))
        return events

    def shown(self):
        return [(m["role"], m.get("content")) for m in self.engine.prompt]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, loop = Engine(), Loop()
    with engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        models = [RemoteModel(name=name, url=url, prompt_cache="own") for name in MODELS]
        models.append(RemoteModel(name="counts", url=url, model="echo", tokenizer="vllm"))
        kinds = {"forgets": NoMemory(), "two": BufferMemory(turns=2)}
        assistants = [
            Assistant(name=name, model="echo", prompt="Be brief.", memory=memory) for name, memory in kinds.items()
        ]
        reads = {"knowledge": ("sea",), "refusal": "I do not know."}
        assistants += [Assistant(name=name, model=name[6:], **reads) for name in ("reads-echo", "reads-calls")]
        assistants.append(Assistant(name="reads-counts", model="counts", **reads))
        assistants.append(Assistant(name="cool", model="echo", temperature=0.25))
        catalog = Catalog(models=tuple(models), assistants=tuple(assistants))
        limits = Limits(messages=30, characters=10_000)
        folder = tmp_path_factory.mktemp("gateway")
        with gateway(loop, folder, catalog, limits=limits, retrieval=Retrieval()) as up:
            headers = {"Authorization": f"Bearer {up.key}"}
            with (
                openai.OpenAI(base_url=f"{up.url}/v1", api_key=up.key, max_retries=0) as sdk,
                httpx.Client(base_url=up.url, headers=headers, timeout=60) as http,
            ):
                yield World(up, scripted, sdk, http)
    loop.stop()


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


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


def test_the_events_of_a_text(world):
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


def test_the_clients_own_stream_and_the_raw_one(world):
    with world.sdk.responses.stream(model="echo", input="hi") as stream:
        assert stream.get_final_response().output_text == 'echo "hi" and more'
    raw = world.http.post("/v1/responses", json={"model": "echo", "input": "hi", "stream": True}).text
    assert "[DONE]" not in raw
    for block in raw.strip().split("\n\n"):
        event, data = block.split("\n")
        assert json.loads(data.removeprefix("data: "))["type"] == event.removeprefix("event: ")


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


def test_an_incomplete_stream_says_so(world):
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
def test_formats(world, stream, asked, sent):
    response = world.ask("hi", stream=stream, text={"format": asked})
    assert world.engine.asked[-1]["response_format"] == sent
    assert response.text.format.to_dict() == asked


def test_every_kind_of_input(world):
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
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
            ],
        },
    ]
    response = world.ask(items, instructions="Be brief.")
    assert [m["role"] for m in world.engine.prompt] == ["system", "system", "user", "assistant", "user"]
    assert world.engine.prompt[-1]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
    ]
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


@pytest.mark.parametrize(
    ("model", "turns"), [("forgets", 0), ("two", 2), ("echo", 4)], ids=["none", "buffer", "token_window"]
)
@both
def test_memory_is_what_the_assistant_says(world, model, turns, stream):
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
def test_a_call_and_its_result_go_together(world, deleted):
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


def test_a_call_that_nobody_answers_is_not_shown_again(world):
    first = world.ask("look", "calls", tools=[TOOL])
    world.ask("never mind", previous_response_id=first.id)
    assert world.shown() == [("user", "look"), ("user", "never mind")]


@both
def test_a_conversation_goes_on(world, stream):
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
def test_citations(world, stream):
    response = world.ask("How deep is the sea?", "reads-echo", stream)
    [annotation] = response.output[0].content[0].annotations
    assert (annotation.type, annotation.start_index, annotation.end_index) == ("url_citation", 0, 4)
    assert (annotation.title, annotation.url) == ("Sea", "/v1/files/file-1/content")
    assert response.model_extra["headrace"]["citations"][0]["quote"] == "The sea is deep."
    kept = world.sdk.responses.retrieve(response.id)
    assert kept.output == response.output
    assert "headrace" not in kept.model_extra  # a quote is not kept beyond its file
    assert world.sdk.responses.input_items.list(response.id).data[0].content[0].text == "How deep is the sea?"


def test_the_event_of_a_citation(world):
    events = world.events("How deep is the sea?", "reads-echo")
    [cited] = [e for e in events if e.type == "response.output_text.annotation.added"]
    assert cited.annotation.url == "/v1/files/file-1/content"
    assert cited.item_id == events[-1].response.output[0].id


@both
def test_an_assistant_says_when_its_documents_do_not_help(world, stream):
    asked = len(world.engine.asked)
    response = world.ask("What is fire?", "reads-echo", stream)
    assert (response.output_text, response.status) == ("I do not know.", "completed")
    assert response.usage.total_tokens == 0
    assert len(world.engine.asked) == asked
    follows = world.ask("What is ice?", "reads-echo", stream, previous_response_id=response.id)
    assert follows.model_extra["headrace"]["memory"] == {"turns": 0, "left_out": 1}


@both
def test_store_false_keeps_no_response(world, stream):
    first = world.ask("one").id
    response = world.ask("two", stream=stream, store=False, previous_response_id=first)
    assert [c for r, c in world.shown() if r == "user"] == ["one", "two"]
    assert response.model_dump()["store"] is False
    with pytest.raises(openai.NotFoundError):
        world.sdk.responses.retrieve(response.id)
    with pytest.raises(openai.NotFoundError):
        world.ask("three", previous_response_id=response.id)


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


def test_a_response_is_kept_before_the_caller_learns_of_the_end(world, monkeypatch):
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
def test_what_it_goes_on_with_is_deleted_meanwhile(world, field, stream):
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


def test_a_hang_up_keeps_nothing(world):
    world.engine.release.clear()
    conversation = world.sdk.conversations.create().id
    body = {"model": "slow", "input": "hi", "conversation": conversation}
    seen = len(world.engine.asked)
    hang_up(world.http, body, lambda: len(world.engine.asked) > seen, "/v1/responses")
    eventually(lambda: world.up.services.admission._active == 0, "the request ends")
    world.engine.release.set()
    assert list(world.sdk.conversations.items.list(conversation)) == []


@both
def test_clients_at_once_lose_nothing(world, stream):
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


OUTPUT = {"type": "function_call_output", "call_id": "call_9", "output": "x"}
CALL = {"type": "function_call", "call_id": "call_9", "name": "look", "arguments": "{}"}
HI = {"role": "user", "content": "hi"}


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
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 400, "input[0]"),
        ({"input": [HI] * 31}, 400, "input"),
        ({"input": "x" * 10_001}, 400, "input"),
        ({"instructions": "x" * 10_001}, 400, "input"),
        ({"background": True}, 400, "background"),
        ({"prompt": {"id": "pmpt_1"}}, 400, "prompt"),
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
def test_wrong_requests(world, change, status, param):
    asked = len(world.engine.asked)
    for path in ("/v1/responses", "/v1/responses/input_tokens"):
        response = world.http.post(path, json={"model": "echo", "input": "hi", "stream": True} | change)
        assert response.status_code == status, response.text
        assert response.json()["error"]["param"] == param
    assert len(world.engine.asked) == asked


@pytest.mark.parametrize(
    "change",
    [
        {"include": ["reasoning.encrypted_content"], "user": "u", "reasoning": {"effort": "low"}},
        {"store": None, "stream": None, "background": False, "metadata": None, "conversation": None, "tools": []},
        {"temperature": None, "text": {"verbosity": "low"}, "service_tier": "auto", "top_logprobs": 0},
    ],
)
def test_what_has_no_effect_is_taken(world, change):
    response = world.http.post("/v1/responses", json={"model": "echo", "input": "hi"} | change)
    assert response.status_code == 200
    assert response.json()["store"]


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


def test_routes_of_a_kept_response(world):
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


@both
def test_what_a_tool_returned_is_no_question_for_the_documents(world, stream):
    first = world.ask("Look at the sea.", "reads-calls", stream, tools=[TOOL])
    outputs = [{"type": "function_call_output", "call_id": c.call_id, "output": "a boat"} for c in first.output]
    second = world.ask(outputs, "reads-calls", stream, previous_response_id=first.id)
    assert second.output_text == 'echo "a boat" and more'
    assert "The sea is deep." not in str(world.engine.prompt)
