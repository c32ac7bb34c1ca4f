"""Chat completions that go on with a stored conversation: a real server and store before scripted engines."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from aiohttp import web
from sqlalchemy import event

from serving.config import Assistant, BufferMemory, Catalog, NoMemory, RemoteModel, TokenWindowMemory
from serving.core.principal import Principal
from serving.engines.endpoint import Endpoint
from serving.engines.token_counter import OVERHEAD
from serving.inference.conversation_context import ChatTurn
from serving.protocol.chat import ChatRequest
from serving.protocol.errors import ApiError
from serving.retrieval.types import Attribution, Hit
from serving.store.errors import StoreUnavailable
from tests.contract.running import Loop, engine, gateway, hang_up
from tests.wait import eventually

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the sea"}'}}
MODELS = ["echo", "calls", "long", "cut", "status-500", "slow", "paused", "no-choices", "odd", "counted"]


class Engine:
    """An OpenAI-compatible endpoint that answers with the last message, and does what its `model` is called."""

    def __init__(self):
        self.prompts = []
        self.release = threading.Event()

    def app(self):
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/completions", self.complete)
        app.router.add_post("/tokenize", self.tokenize)
        return app

    async def tokenize(self, request):
        """A token for every word, in the shape of vLLM."""
        body = await request.json()
        if "prompt" in body:
            return web.json_response({"count": 1, "max_model_len": 60, "tokens": [1]})
        count = sum(len(m["content"].split()) for m in body["messages"])
        return web.json_response({"count": count, "max_model_len": 60, "tokens": [1] * count})

    async def complete(self, request):
        body = await request.json()
        choices = [{"index": 0, "text": text, "finish_reason": None} for text in (body["prompt"], " two")]
        choices[-1]["finish_reason"] = "length"
        if not body.get("stream"):
            return web.json_response({"choices": [choices[-1] | {"text": body["prompt"] + " two"}]})
        frames = b"".join(f"data: {json.dumps({'id': 'theirs', 'choices': [c]})}\n\n".encode() for c in choices)
        return web.Response(body=frames + b"data: [DONE]\n\n", headers={"Content-Type": "text/event-stream"})

    async def chat(self, request):
        body = await request.json()
        self.prompts.append(body["messages"])
        kind = body["model"]
        if kind == "status-500":
            return web.json_response({"error": {"message": "no"}}, status=500)
        last = body["messages"][-1]
        text = f"echo {last['content']}"
        message, reason = {"role": "assistant", "content": text}, "stop"
        if kind == "calls" and last["role"] == "user":
            message, reason = {"role": "assistant", "content": None, "tool_calls": [CALL]}, "tool_calls"
        if kind == "long":
            reason = "length"
        if kind == "odd":
            message["tool_calls"] = [{"id": "x"}]
        if kind == "slow":
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        if not body.get("stream"):
            choices = [{"index": 0, "message": message, "finish_reason": reason}]
            return web.json_response({"choices": [] if kind == "no-choices" else choices})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for delta in deltas(message):
            await response.write(frame(delta))
        if kind == "cut":
            return response
        if kind == "paused":
            while not self.release.is_set():
                await asyncio.sleep(0.01)
        await response.write(frame({}, reason))
        await response.write(b"data: [DONE]\n\n")
        return response


class Retrieval:
    """What retrieval answers: one chunk for a question about the sea, else nothing; it cites nothing."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        if method == "attribute":
            return Attribution((), ())
        return [CHUNK] if "sea" in args[2] else []


CHUNK = Hit("c", "file-1", "sea.md", "Sea", "", "The sea is deep.", 0, 16, None, 0.9, 0.9, 0.0)


def deltas(message):
    if calls := message.get("tool_calls"):
        call = calls[0]
        head = {**call, "index": 0, "function": {"name": call["function"]["name"], "arguments": ""}}
        arguments = call["function"]["arguments"]
        pieces = [{"index": 0, "function": {"arguments": part}} for part in (arguments[:5], arguments[5:])]
        return [{"role": "assistant"}, *({"tool_calls": [piece]} for piece in (head, *pieces))]
    words = message["content"].split(" ")
    return [{"role": "assistant"}, *({"content": w} for w in [words[0], *(f" {w}" for w in words[1:])])]


def frame(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'choices': [choice]})}\n\n".encode()


class World:
    def __init__(self, up, engine, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, engine, sdk, http

    def ask(self, conversation, content="hi", model="echo", stream=False, **more):
        """Returns (text, finish_reason, headrace) of an answer, streamed or whole."""
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        body = {"model": model, "messages": messages, "stream": stream, **more}
        answer = self.sdk.chat.completions.create(**body, extra_body={"conversation": conversation})
        if not stream:
            choice = answer.choices[0]
            return choice.message.content, choice.finish_reason, choice.message.model_extra["headrace"]
        chunks = list(answer)
        last = chunks[-1].choices[0]
        text = "".join(c.choices[0].delta.content or "" for c in chunks)
        return text, last.finish_reason, last.delta.model_extra["headrace"]

    def items(self, conversation):
        return list(self.sdk.conversations.items.list(conversation, order="asc"))

    def texts(self, conversation):
        return [item.content[0].text for item in self.items(conversation)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        models = [RemoteModel(name=name, url=url) for name in MODELS if name != "counted"]
        models.append(RemoteModel(name="counted", url=url, tokenizer="vllm"))
        models.append(RemoteModel(name="narrow", url=url, model="echo", context=OVERHEAD + 600))
        kinds = {"forgets": NoMemory(), "two": BufferMemory(turns=2), "few": TokenWindowMemory(tokens=OVERHEAD + 200)}
        assistants = [
            Assistant(name=name, model="echo", prompt="Be brief.", memory=memory) for name, memory in kinds.items()
        ]
        assistants.append(Assistant(name="reads", model="echo", knowledge=("sea",), refusal="I do not know."))
        catalog = Catalog(models=tuple(models), assistants=tuple(assistants))
        with (
            gateway(loop, tmp_path_factory.mktemp("gateway"), catalog, retrieval=Retrieval()) as up,
            up.sdk() as sdk,
            up.client() as http,
        ):
            yield World(up, scripted, sdk, http)


@pytest.fixture
def conversation(world):
    return world.sdk.conversations.create().id


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


@both
def test_earlier_turns_precede_the_request(world, conversation, stream):
    text, reason, extra = world.ask(conversation, "one", stream=stream)
    assert (text, reason, extra["memory"]) == ("echo one", "stop", {"turns": 0, "left_out": 0})
    assert (extra["conversation"], extra["items"]) == (conversation, [item.id for item in world.items(conversation)])
    reference = {"id": conversation}
    text, _, extra = world.ask(reference, "two", stream=stream)
    assert (text, extra["memory"]) == ("echo two", {"turns": 1, "left_out": 0})
    assert world.engine.prompts[-1] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "echo one"},
        {"role": "user", "content": "two"},
    ]
    assert world.texts(conversation) == ["one", "echo one", "two", "echo two"]
    assert [i.role for i in world.items(conversation)] == ["user", "assistant"] * 2
    assert {i.status for i in world.items(conversation)} == {"completed"}


def test_instructions_stay_first_and_are_not_stored(world, conversation):
    world.ask(conversation, "one")
    said = [{"role": "developer", "content": "In French."}, {"role": "user", "content": "two"}]
    world.ask(conversation, said, model="two")
    assert [(m["role"], m["content"]) for m in world.engine.prompts[-1]] == [
        ("system", "Be brief."),
        ("system", "In French."),
        ("user", "one"),
        ("assistant", "echo one"),
        ("user", "two"),
    ]
    assert world.texts(conversation) == ["one", "echo one", "two", "echo two"]


@pytest.mark.parametrize(
    ("model", "turns"), [("forgets", 0), ("two", 2), ("echo", 4)], ids=["none", "buffer", "token_window"]
)
@both
def test_memory_follows_the_assistants_setting(world, conversation, model, turns, stream):
    for n in range(4):
        world.ask(conversation, str(n))
    _, _, extra = world.ask(conversation, "now", model=model, stream=stream)
    assert extra["memory"] == {"turns": turns, "left_out": 4 - turns}
    shown = [m["content"] for m in world.engine.prompts[-1] if m["role"] == "user"]
    assert shown == [*(str(n) for n in range(4 - turns, 4)), "now"]


@pytest.mark.parametrize("model", ["few", "narrow"])
def test_tokens_bound_memory(world, conversation, model):
    for n in range(6):
        world.ask(conversation, f"{n}" * 40)
    _, _, extra = world.ask(conversation, "now", model=model, max_tokens=100)
    kept = extra["memory"]["turns"]
    assert 0 < kept < 6
    assert extra["memory"]["left_out"] == 6 - kept
    prompt = world.engine.prompts[-1]
    assert [m["content"][0] for m in prompt if m["role"] == "user"] == [*(str(n) for n in range(6 - kept, 6)), "n"]


def test_token_counts_come_from_the_engine(world, conversation):
    for n in range(8):
        world.ask(conversation, " ".join([str(n)] * 5))  # 5 words and 6 of the answer: 11 tokens a turn
    _, _, extra = world.ask(conversation, "now", model="counted", max_tokens=20)
    assert extra["memory"] == {"turns": 3, "left_out": 5}  # 1 + 3 * 11 + 20 of 60
    _, _, extra = world.ask(conversation, "now " * 80, model="counted", max_tokens=20)
    assert extra["memory"] == {"turns": 0, "left_out": 9}  # too long alone: the engine is asked all the same


@both
def test_calls_and_results_form_one_turn(world, conversation, stream):
    world.ask(conversation, "look", model="calls", stream=stream)
    _, call = world.items(conversation)
    assert (call.type, call.call_id, call.name) == ("function_call", "call_1", "look")
    assert json.loads(call.arguments) == {"at": "the sea"}
    said = [{"role": "tool", "tool_call_id": "call_1", "content": "a boat"}]
    text, _, extra = world.ask(conversation, said, model="calls", stream=stream)
    assert (text, extra["memory"]) == ("echo a boat", {"turns": 1, "left_out": 0})
    assert world.engine.prompts[-1] == [
        {"role": "user", "content": "look"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a boat"},
    ]
    # What a tool returned makes no sense without the call, so even an assistant without memory is shown both.
    world.ask(conversation, said, model="forgets", stream=stream)
    assert [m["role"] for m in world.engine.prompts[-1]][:4] == ["system", "user", "assistant", "tool"]
    assert [i.type for i in world.items(conversation)][:4] == [
        "message",
        "function_call",
        "function_call_output",
        "message",
    ]
    _, _, extra = world.ask(conversation, "next", stream=stream)
    assert extra["memory"]["turns"] == 1


@both
def test_an_answer_that_ran_out_of_tokens_is_incomplete(world, conversation, stream):
    assert world.ask(conversation, model="long", stream=stream)[1] == "length"
    assert [i.status for i in world.items(conversation)] == ["completed", "incomplete"]


@pytest.mark.parametrize(
    ("model", "stream"),
    [("status-500", True), ("status-500", False), ("no-choices", False), ("odd", False)],
)
def test_a_failed_answer_stores_nothing(world, conversation, model, stream):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    response = world.http.post("/v1/chat/completions", json=body | {"stream": stream})
    assert '"engine_error"' in response.text
    assert "[DONE]" not in response.text
    assert world.items(conversation) == []
    world.ask(conversation, "again")
    assert world.texts(conversation) == ["again", "echo again"]


def test_a_stream_that_breaks_off_is_kept_as_incomplete(world, conversation):
    body = {"model": "cut", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    response = world.http.post("/v1/chat/completions", json=body | {"stream": True})
    assert '"engine_error"' in response.text
    assert "[DONE]" not in response.text
    kept = [(item.content[0].text, item.status) for item in world.items(conversation)]
    assert kept == [("hi", "completed"), ("echo hi", "incomplete")]
    world.ask(conversation, "and now?")
    assert [m["content"] for m in world.engine.prompts[-1]] == ["hi", "echo hi", "and now?"]


def test_a_stream_that_its_caller_leaves_is_kept_as_incomplete(world, conversation):
    world.engine.release.clear()
    body = {"model": "paused", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    with world.http.stream("POST", "/v1/chat/completions", json=body | {"stream": True}) as response:
        said = ""
        for part in response.iter_text():
            said += part
            if " hi" in said:
                break
    eventually(lambda: len(world.items(conversation)) == 2, "the turn is stored")
    world.engine.release.set()
    assert [item.status for item in world.items(conversation)] == ["completed", "incomplete"]


@both
def test_items_tell_what_stood_beside_their_answer(world, conversation, stream):
    _, _, extra = world.ask(conversation, "How deep is the sea?", model="reads", stream=stream)
    path = f"/v1/conversations/{conversation}/items"
    answer, question = world.http.get(path, params={"include": "headrace"}).json()["data"]
    told = answer["headrace"]
    assert question["headrace"] == {"number": 1}
    assert answer["created_at"] >= question["created_at"] > 0
    assert told.pop("completion_id").startswith("chatcmpl")
    assert (told.pop("model"), told.pop("number")) == ("reads", 2)
    told.pop("usage")
    assert told.pop("consent") is False
    assert told == {name: value for name, value in extra.items() if name not in ("conversation", "items")}
    assert told["retrieved"] == 1
    one = world.http.get(f"{path}/{answer['id']}", params={"include[]": "headrace"}).json()
    assert (one["id"], "headrace" in one) == (answer["id"], True)
    for plain in (world.http.get(path).json()["data"][0], world.http.get(f"{path}/{answer['id']}").json()):
        assert not plain.keys() & {"headrace", "created_at"}


def test_items_tell_which_response_they_are_of(world, conversation):
    made = world.sdk.responses.create(model="echo", input="hi", conversation=conversation)
    path = f"/v1/conversations/{conversation}/items"
    answer, question = world.http.get(path, params={"include": "headrace"}).json()["data"]
    assert (answer["id"], question["headrace"]) == (made.output[0].id, {"number": 1})
    assert (answer["headrace"]["completion_id"], answer["headrace"]["model"]) == (made.id, "echo")


def test_a_disconnect_before_the_first_word_stores_nothing(world, conversation):
    world.engine.release.clear()
    seen = len(world.engine.prompts)
    body = {"model": "slow", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    hang_up(world.http, body, lambda: len(world.engine.prompts) > seen)
    eventually(lambda: world.up.services.admission._active == 0, "the request ends")
    world.engine.release.set()
    assert len(world.engine.prompts) == seen + 1
    assert world.items(conversation) == []


@both
def test_the_turn_is_stored_before_the_caller_learns_of_the_end(world, conversation, stream, monkeypatch):
    """While the store holds the turn back, neither the body nor the chunk with finish_reason leaves."""
    adding, go = threading.Event(), threading.Event()
    store = world.up.services.captures
    record = store.record

    async def held(*args, **more):
        adding.set()
        while not go.is_set():
            await asyncio.sleep(0.01)
        return await record(*args, **more)

    monkeypatch.setattr(store, "record", held)
    world.engine.release.clear()
    body = {"model": "paused", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    seen, ended = [], threading.Event()

    def read():
        with world.http.stream("POST", "/v1/chat/completions", json=body | {"stream": stream}) as response:
            seen.extend(response.iter_text())
        ended.set()

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(read)
        if stream:
            eventually(lambda: " hi" in "".join(seen), "the text has left")
        world.engine.release.set()
        assert adding.wait(60)
        assert not ended.wait(0.3)
        assert 'finish_reason":"stop' not in "".join(seen)
        go.set()
        reading.result(60)
    assert ("[DONE]" if stream else "echo hi") in "".join(seen)


@both
def test_a_store_that_fails_ends_the_answer_with_an_error(world, conversation, stream, monkeypatch):
    async def fails(*args, **more):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(world.up.services.captures, "record", fails)
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    response = world.http.post("/v1/chat/completions", json=body | {"stream": stream})
    assert response.status_code == (200 if stream else 503)
    assert '"code":"unavailable"' in response.text
    assert "[DONE]" not in response.text
    assert '"stop"' not in response.text


@both
def test_concurrent_requests_are_stored_in_order(world, conversation, stream):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: world.ask(conversation, f"question {n}", stream=stream), range(16)))
    texts = world.texts(conversation)
    assert sorted(texts[::2]) == sorted(f"question {n}" for n in range(16))
    assert texts[1::2] == [f"echo {text}" for text in texts[::2]]


def test_deleting_the_conversation_meanwhile_is_an_error(world, conversation):
    world.engine.release.clear()
    body = {"model": "slow", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    seen = len(world.engine.prompts)
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(world.http.post, "/v1/chat/completions", json=body)
        eventually(lambda: len(world.engine.prompts) > seen, "the engine is asked")
        world.sdk.conversations.delete(conversation)
        world.engine.release.set()
        response = asking.result(60)
    assert response.status_code == 404
    assert response.json()["error"]["param"] == "conversation"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"conversation": "conv_none"}, 404, "conversation"),
        ({"conversation": {"id": "conv_none"}}, 404, "conversation"),
        ({"conversation": "\ud7ff"}, 404, "conversation"),
        ({"conversation": 5}, 400, "conversation"),
        ({"conversation": ""}, 400, "conversation"),
        ({"conversation": {"id": 5}}, 400, "conversation"),
        ({"n": 2}, 400, "n"),
    ],
)
def test_invalid_requests_name_the_parameter_and_store_nothing(world, conversation, change, status, param):
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "conversation": conversation}
    seen = len(world.engine.prompts)
    response = world.http.post("/v1/chat/completions", json=body | change)
    assert response.status_code == status
    assert response.json()["error"]["param"] == param
    assert len(world.engine.prompts) == seen
    assert world.items(conversation) == []


def test_another_tenants_conversation_is_a_404(world):
    mallory = Principal(tenant="evil", user="mallory", key_id="key_m")
    theirs = world.up.loop.do(world.up.services.conversations.create(mallory)).id
    with pytest.raises(openai.NotFoundError) as error:
        world.ask(theirs)
    assert error.value.param == "conversation"
    assert world.up.loop.do(world.up.services.conversations.last(mallory, theirs)) == []


@both
def test_an_answer_reads_its_conversation_once(world, conversation, stream):
    """And stores in one transaction: see the store's test of a turn."""
    database = world.up.services.database
    seen = []

    def see(statement):
        if "conversation" in statement:  # the workers look for jobs meanwhile
            seen.append(statement.split()[0])

    def checkout(driver, *_):
        driver.set_trace_callback(see)

    async def trace(callback):
        database._lookups.driver.set_trace_callback(callback)

    world.ask(conversation, "hi", stream=stream)
    event.listen(database._committing, "checkout", checkout)
    event.listen(database._blocking, "checkout", checkout)
    world.up.loop.do(trace(see))
    for turn in (1, 2):
        _, _, extra = world.ask(conversation, "hi", stream=stream)
        assert extra["memory"] == {"turns": turn, "left_out": 0}
        assert seen == ["SELECT", "UPDATE", "INSERT", "INSERT", "INSERT"]  # each row is a statement
        seen.clear()
    world.up.loop.do(trace(None))
    event.remove(database._committing, "checkout", checkout)
    event.remove(database._blocking, "checkout", checkout)


@both
def test_documents_are_in_the_request_but_not_in_the_history(world, conversation, stream):
    _, _, extra = world.ask(conversation, "How deep is the sea?", model="reads", stream=stream)
    assert extra["memory"] == {"turns": 0, "left_out": 0}
    assert extra["citations"] == []
    assert "The sea is deep." in world.engine.prompts[-1][-1]["content"]
    assert world.texts(conversation)[0] == "How deep is the sea?"
    asked = len(world.engine.prompts)
    text, _, extra = world.ask(conversation, "What is fire?", model="reads", stream=stream)
    assert (text, extra["memory"]) == ("I do not know.", {"turns": 0, "left_out": 1})
    assert len(world.engine.prompts) == asked
    assert world.texts(conversation)[2:] == ["What is fire?", "I do not know."]


def test_a_picture_is_part_of_the_history(world, conversation):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    world.ask(conversation, [{"role": "user", "content": [{"type": "text", "text": "see"}, picture]}])
    [seen, _] = world.items(conversation)
    assert seen.content[1].image_url == "data:image/png;base64,AA"
    world.ask(conversation, "and now?")
    assert world.engine.prompts[-1][0]["content"][1]["image_url"]["url"] == "data:image/png;base64,AA"


@pytest.mark.parametrize(("part", "taken"), [("text", True), ("image_url", False)])
def test_text_only_models_reject_images_in_history(world, conversation, part, taken):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    second = picture if part == "image_url" else {"type": "text", "text": "two"}
    world.ask(conversation, [{"role": "user", "content": [{"type": "text", "text": "one"}, second]}])
    body = ChatRequest(model="m", messages=[{"role": "user", "content": "x"}], conversation=conversation)
    s = world.up.services
    caller = world.up.loop.do(s.authenticate(world.http.headers["authorization"]))
    instructions = s.catalog.current.rails.instructions(None, caller)
    turn = ChatTurn(s.pipeline._sources, caller, None, body, instructions=instructions)
    said = {"messages": [message.model_dump(exclude_none=True) for message in body.messages]}
    recalled = turn.recall(Endpoint("http://nobody/v1", "m", {}, text_only=True), said)
    if taken:
        world.up.loop.do(recalled)
        return
    with pytest.raises(ApiError) as error:
        world.up.loop.do(recalled)
    assert (error.value.code, error.value.param) == ("unsupported_content", "conversation")


def test_a_request_without_a_conversation_is_as_before(world):
    answer = world.sdk.chat.completions.create(model="echo", messages=[{"role": "user", "content": "hi"}])
    assert "headrace" not in (answer.choices[0].message.model_extra or {})
