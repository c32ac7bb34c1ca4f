"""Captures, stored completions and feedback: a real server and store before a scripted engine."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from sqlalchemy import select

from serving.config import Alias, Assistant, Catalog, RemoteModel, Target
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.retrieval.client import RetrievalUnavailable
from serving.store.captures import Capture
from serving.store.errors import StoreUnavailable
from serving.store.relational.rows import build
from serving.store.relational.tables import captures
from tests.contract.inference.test_chat_conversation import CALL, Engine, Retrieval, both
from tests.contract.running import Loop, engine, gateway, hang_up
from tests.store.captures import capture
from tests.wait import eventually

KINDS = ["echo", "calls", "long", "cut", "status-500", "slow", "no-choices", "odd"]
QUESTION = [{"role": "user", "content": "hi"}]
MALLORY = Principal(tenant="evil", user="mallory", key_id="key_m")


class World:
    def __init__(self, up, scripted, sdk, http):
        self.up, self.engine, self.sdk, self.http = up, scripted, sdk, http

    def post(self, path="/v1/chat/completions", **body):
        return self.http.post(path, json=body)

    def ask(self, model="echo", messages=QUESTION, stream=False, **more):
        """Asks, reads the answer to its end and returns its id, None when it has none."""
        response = self.post(model=model, messages=messages, stream=stream, **more)
        lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
        return json.loads(lines[0] if stream and lines else response.text).get("id")

    def rows(self):
        """All captures, the newest first."""

        @uninterrupted
        async def read():
            async with self.up.services.database.read() as connection:
                found = await connection.execute(select(captures).order_by(captures.c.created_at.desc()))
                return [build(Capture, row) for row in found.mappings()]

        return self.up.loop.do(read())

    def do(self, coroutine):
        return self.up.loop.do(coroutine)

    @property
    def caller(self):
        return self.do(self.up.services.authenticate(self.http.headers["authorization"]))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted = Engine()
    with Loop() as loop, engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        models = tuple(RemoteModel(name=name, url=url) for name in KINDS)
        assistants = (
            Assistant(name="reads", model="stable", prompt="Be brief.", knowledge=("sea",), refusal="I do not know."),
            Assistant(name="silent", model="echo", capture="none"),
        )
        catalog = Catalog(
            models=models, aliases=(Alias(name="stable", targets=(Target(model="echo"),)),), assistants=assistants
        )
        with (
            gateway(loop, tmp_path_factory.mktemp("gateway"), catalog, retrieval=Retrieval()) as up,
            up.sdk() as sdk,
            up.client() as http,
        ):
            yield World(up, scripted, sdk, http)


@pytest.fixture
def conversation(world):
    return world.sdk.conversations.create().id


@both
def test_a_capture_has_all_that_led_to_an_answer(world, stream):
    said = [{"role": "user", "content": "How deep is the sea?"}]
    id = world.ask("reads", said, stream, temperature=0.5, user="u")
    [found, *_] = world.rows()
    assert (found.id, found.outcome, found.error_code) == (id, "completed", None)
    assert (found.requested, found.assistant, found.alias, found.model, found.adapter) == (
        "reads",
        "reads",
        "stable",
        "echo",
        None,
    )
    assert found.request == {"model": "reads", "messages": said, "stream": stream, "temperature": 0.5, "user": "u"}
    assert found.prompt["messages"] == world.engine.prompts[-1]
    assert found.prompt["messages"][0] == {"role": "system", "content": "Be brief."}
    assert found.prompt["temperature"] == 0.5
    assert ("stream" in found.prompt) == stream
    assert [c["text"] for c in found.chunks] == ["The sea is deep."]
    [choice] = found.answer
    assert choice["message"]["content"].startswith("echo The sea is deep.")
    assert choice["message"]["headrace"]["retrieved"] == 1
    assert choice["finish_reason"] == "stop"
    assert len(found.prompt_version) == 16
    assert found.timings.keys() >= {"receive", "retrieve", "decode", "cite"}
    assert (found.tenant, found.user) == (world.caller.tenant, world.caller.user)
    assert (found.stored, found.consent, found.conversation_id, found.steps, found.cost) == (
        False,
        False,
        None,
        [],
        None,
    )


@both
def test_a_refusal_is_captured_too(world, stream):
    id = world.ask("reads", [{"role": "user", "content": "What is fire?"}], stream, store=True)
    [found, *_] = world.rows()
    assert (found.id, found.prompt, found.chunks, found.consent) == (id, {}, [], True)
    assert found.answer[0]["message"]["content"] == "I do not know."


@both
@pytest.mark.parametrize(
    ("model", "outcome"), [("echo", "completed"), ("long", "length"), ("calls", "tool_calls")], ids=lambda v: v
)
def test_captures_record_the_outcome(world, model, outcome, stream):
    id = world.ask(model, stream=stream)
    [found, *_] = world.rows()
    assert (found.id, found.outcome) == (id, outcome)
    if model == "calls":
        assert found.answer[0]["message"]["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    ("model", "stream", "so_far"),
    [
        ("cut", True, "echo hi"),
        ("status-500", True, None),
        ("status-500", False, None),
        ("no-choices", False, None),
    ],
)
def test_broken_answers_are_captured_and_leave_what_was_said(world, conversation, model, stream, so_far):
    response = world.post(model=model, messages=QUESTION, stream=stream, conversation=conversation)
    assert '"engine_error"' in response.text
    [found, *_] = world.rows()
    assert (found.requested, found.outcome, found.error_code) == (model, "error", "engine_error")
    assert [c["message"]["content"] for c in found.answer] == ([so_far] if so_far else [])
    items = world.sdk.conversations.items.list(conversation, order="asc").data
    assert (found.conversation_id, found.item_id) == (conversation, items[-1].id if so_far else None)
    assert [item.status for item in items] == (["completed", "incomplete"] if so_far else [])


def test_an_answer_that_is_no_turn_is_captured_as_an_error(world, conversation):
    response = world.post(model="odd", messages=QUESTION, conversation=conversation)
    assert response.status_code == 502
    [found, *_] = world.rows()
    assert (found.outcome, found.answer[0]["message"]["tool_calls"]) == ("error", [{"id": "x"}])


def test_a_hang_up_is_captured(world):
    world.engine.release.clear()
    before, seen = len(world.rows()), len(world.engine.prompts)
    hang_up(world.http, {"model": "slow", "messages": QUESTION}, lambda: len(world.engine.prompts) > seen)
    eventually(lambda: len(world.rows()) == before + 1, "the hang-up is captured")
    world.engine.release.set()
    assert (world.rows()[0].outcome, world.rows()[0].answer) == ("cancelled", [])


def test_a_request_that_reached_no_engine_is_not_captured(world):
    before = len(world.rows())
    assert world.post(model="none", messages=QUESTION).status_code == 404
    assert world.post(model="echo", messages=[]).status_code == 400
    assert len(world.rows()) == before


@both
def test_a_capture_points_at_its_message(world, conversation, stream):
    world.ask(stream=stream, conversation=conversation)
    answer = world.sdk.conversations.items.list(conversation).data[0]
    assert (world.rows()[0].conversation_id, world.rows()[0].item_id) == (conversation, answer.id)


@both
def test_a_store_that_fails_ends_the_answer_with_an_error(world, stream, monkeypatch):
    async def fails(*args, **more):
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(world.up.services.captures, "record", fails)
    response = world.post(model="echo", messages=QUESTION, stream=stream)
    assert response.status_code == (200 if stream else 503)
    assert '"code":"unavailable"' in response.text
    assert '"stop"' not in response.text
    broken = world.post(model="cut", messages=QUESTION, stream=True)
    assert '"engine_error"' in broken.text  # what happened is said, not that it could not be stored


@both
def test_capture_can_be_none(world, conversation, stream):
    before = len(world.rows())
    assert world.ask("silent", stream=stream)
    assert world.ask("silent", stream=stream, conversation=conversation)
    assert len(world.rows()) == before
    assert len(world.sdk.conversations.items.list(conversation).data) == 2
    response = world.post(model="silent", messages=QUESTION, store=True)
    assert (response.status_code, response.json()["error"]["param"]) == (400, "store")


@both
def test_completions_are_captured(world, stream):
    response = world.post("/v1/completions", model="echo", prompt="one", stream=stream)
    [found, *_] = world.rows()
    assert found.id.startswith("cmpl-")
    assert found.id in response.text
    assert found.prompt["prompt"] == "one"
    assert found.answer[0]["message"]["content"] == "one two"
    assert world.http.get(f"/v1/chat/completions/{found.id}").status_code == 404


def test_the_sdk_drives_stored_completions(world):
    api = world.sdk.chat.completions
    made = [
        api.create(model="echo", messages=[{"role": "user", "content": str(n)}], store=True, metadata={"n": str(n % 2)})
        for n in range(4)
    ]
    world.ask()
    world.ask(store=False)
    ids = [m.id for m in made]
    assert [c.id for c in api.list(limit=3)][-4:] == ids
    assert [c.id for c in api.list(metadata={"n": "1"})] == ids[1::2]
    assert [c.id for c in api.list(order="desc", model="echo").data][:4] == ids[::-1]
    assert [c.id for c in api.list(model="other")] == []
    found = api.retrieve(ids[2])
    assert (found.choices[0].message.content, found.model, found.metadata) == ("echo 2", "echo", {"n": "0"})
    assert api.update(ids[2], metadata={"a": "b"}).metadata == {"a": "b"}
    assert [c.id for c in api.list(metadata={"a": "b"})] == [ids[2]]
    assert api.delete(ids[2]).deleted
    for call in (api.retrieve, api.delete, lambda id: api.update(id, metadata={})):
        with pytest.raises(openai.NotFoundError):
            call(ids[2])
    assert ids[2] not in [c.id for c in api.list()]


def test_messages_of_a_stored_completion_are_listed_in_order(world):
    parts = [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]
    said = [
        {"role": "system", "content": "a"},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "d", "tool_call_id": "call_1"},
    ]
    id = world.ask(messages=said, store=True)
    api = world.sdk.chat.completions.messages
    found = list(api.list(id, limit=3))
    assert [m.id for m in found] == [f"{id}-{n}" for n in range(4)]
    assert [m.role for m in found] == ["system", "user", "assistant", "tool"]
    assert [m.content for m in found] == ["a", None, None, "d"]
    assert [p.text for p in found[1].content_parts] == ["b", "c"]
    assert [m.id for m in api.list(id, order="desc", after=f"{id}-2").data] == [f"{id}-1", f"{id}-0"]
    with pytest.raises(openai.BadRequestError):
        api.list(id, after="none")
    with pytest.raises(openai.NotFoundError):
        api.list("chatcmpl-none")


def test_another_tenants_completion_is_a_404(world):
    theirs = capture(MALLORY)
    world.do(world.up.services.captures.record(MALLORY, theirs))
    path = f"/v1/chat/completions/{theirs.id}"
    assert world.http.get(path).status_code == 404
    assert world.http.get(f"{path}/messages").status_code == 404
    assert world.post(path, metadata={}).status_code == 404
    assert world.http.delete(path).status_code == 404
    assert theirs.id not in world.http.get("/v1/chat/completions?limit=100").text
    assert world.do(world.up.services.captures.get(MALLORY, theirs.id)) == theirs


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "x" * 513}}, "metadata"),
        ({"metadata": {"k": 5}}, "metadata"),
        ({"store": "yes"}, "store"),
    ],
)
def test_wrong_requests_ask_no_engine(world, body, param):
    seen = len(world.engine.prompts)
    response = world.post(model="echo", messages=QUESTION, **body)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert len(world.engine.prompts) == seen


@pytest.mark.parametrize("query", ["limit=0", "order=up", "after=none", "metadata[a]=" + "x" * 513, "model=%00"])
def test_invalid_queries_of_completions_are_rejected(world, query):
    assert world.http.get(f"/v1/chat/completions?{query}").status_code == 400


def test_feedback_is_created_once_and_deleted(world, conversation):
    id = world.ask(store=True, conversation=conversation)
    other = world.ask(conversation=world.sdk.conversations.create().id)
    message = world.sdk.conversations.items.list(conversation).data[0].id
    said = {
        "id": "mine-1",
        "target": {"type": "response", "id": id},
        "thumb": "up",
        "score": 1,
        "tags": ["kind"],
        "comment": "ok",
        "correction": "better",
        "rejected": other,
        "consent": True,
    }
    made = world.post("/v1/feedback", **said)
    assert made.status_code == 200
    assert made.json() == {**said, "object": "feedback", "created_at": made.json()["created_at"]}
    assert world.post("/v1/feedback", **said).json() == made.json()
    changed = world.post("/v1/feedback", **said | {"thumb": "down"})
    assert (changed.status_code, changed.json()["error"]["code"]) == (409, "conflict")
    for kind, target in (("message", message), ("session", conversation)):
        answer = world.post("/v1/feedback", target={"type": kind, "id": target}, thumb="down")
        assert answer.json()["target"] == {"type": kind, "id": target}
    assert world.http.get("/v1/feedback/mine-1").json() == made.json()
    assert [f["id"] for f in world.http.get(f"/v1/feedback?target={id}").json()["data"]] == ["mine-1"]
    assert len(world.http.get("/v1/feedback?limit=2").json()["data"]) == 2
    world.sdk.conversations.items.delete(message, conversation_id=conversation)
    assert world.http.get(f"/v1/feedback?target={message}").json()["data"] == []
    rated = world.post("/v1/feedback", target={"type": "message", "id": message}, thumb="down")
    assert (rated.status_code, rated.json()["error"]["param"]) == (404, "target.id")
    assert world.http.delete("/v1/feedback/mine-1").json()["deleted"]
    assert world.http.get("/v1/feedback/mine-1").status_code == 404
    assert world.http.delete("/v1/feedback/mine-1").status_code == 404


def test_unlisted_completions_can_be_rated(world):
    """Every capture can be rated, stored for the API or not."""
    id = world.ask()
    assert world.post("/v1/feedback", target={"type": "response", "id": id}, thumb="up").status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"target": {"type": "response", "id": "none"}}, 404, "target.id"),
        ({"target": {"type": "response", "id": "é"}}, 404, "target.id"),
        ({"target": {"type": "odd", "id": "x"}}, 400, "target.type"),
        ({"target": "x"}, 400, "target"),
        ({"rejected": "none"}, 404, "rejected"),
        ({"thumb": None}, 400, "thumb"),
        ({"thumb": "sideways"}, 400, "thumb"),
        ({"score": 1.5}, 400, "score"),
        ({"score": "1"}, 400, "score"),
        ({"tags": ["x"] * 17}, 400, "tags"),
        ({"tags": [""]}, 400, "tags[0]"),
        ({"tags": ["\0"]}, 400, "tags[0]"),
        ({"comment": "x" * 10_001}, 400, "comment"),
        ({"comment": "\0"}, 400, "comment"),
        ({"id": "a b"}, 400, "id"),
        ({"id": ""}, 400, "id"),
    ],
)
def test_invalid_feedback_names_the_parameter_and_is_not_stored(world, change, status, param):
    id = world.ask()
    response = world.post("/v1/feedback", **{"target": {"type": "response", "id": id}, "thumb": "up"} | change)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
    assert world.http.get(f"/v1/feedback?target={id}").json()["data"] == []


def test_another_tenants_answer_cannot_be_rated(world):
    theirs = capture(MALLORY)
    world.do(world.up.services.captures.record(MALLORY, theirs))
    response = world.post("/v1/feedback", target={"type": "response", "id": theirs.id}, thumb="up")
    assert (response.status_code, response.json()["error"]["param"]) == (404, "target.id")
    mine = world.ask()
    response = world.post("/v1/feedback", target={"type": "response", "id": mine}, rejected=theirs.id)
    assert (response.status_code, response.json()["error"]["param"]) == (404, "rejected")


def test_concurrent_identical_ratings_are_stored_once(world):
    id = world.ask()
    body = {"id": "many", "target": {"type": "response", "id": id}, "thumb": "up"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: world.post("/v1/feedback", **body), range(16)))
    assert {a.status_code for a in answers} == {200}
    assert len({a.text for a in answers}) == 1
    assert len(world.http.get(f"/v1/feedback?target={id}").json()["data"]) == 1


def respond(world, model="echo", stream=False, **more):
    """Asks for a response, reads it to its end and returns it."""
    response = world.post("/v1/responses", model=model, input="hi", stream=stream, **more)
    if not stream:
        return response.json()
    return json.loads(response.text.strip().splitlines()[-1].removeprefix("data: "))["response"]


@both
@pytest.mark.parametrize("store", [None, True, False, "null"], ids=str)
def test_only_store_true_consents_to_exports(world, store, stream):
    said = {} if store is None else {"store": None if store == "null" else store}
    made = respond(world, stream=stream, metadata={"a": "b"}, **said)
    [found, *_] = world.rows()
    assert (found.id, found.session_id, found.conversation_id) == (made["id"], made["id"], None)
    assert (found.stored, found.consent) == (False, store is True)
    assert found.outcome == "completed"
    if store is not False:
        assert found.metadata == {"a": "b"}
        assert found.request == {"model": "echo", "input": "hi", "stream": stream, "metadata": {"a": "b"}, **said}
        assert found.prompt["messages"] == world.engine.prompts[-1] == QUESTION
        assert found.answer[0]["message"]["content"] == made["output"][0]["content"][0]["text"]
    assert made["store"] == (store is not False)
    kept = world.http.get(f"/v1/responses/{made['id']}")
    assert kept.status_code == (404 if store is False else 200)
    # The routes of stored completions know nothing of it.
    assert world.http.get(f"/v1/chat/completions/{made['id']}").status_code == 404
    assert made["id"] not in [c["id"] for c in world.http.get("/v1/chat/completions?order=desc").json()["data"]]


UNTOLD = "zqxunstored"


@both
@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/responses"])
def test_store_false_captures_metadata_only(world, route, stream):
    asked = {"input": UNTOLD} if "responses" in route else {"messages": [{"role": "user", "content": UNTOLD}]}
    response = world.post(route, model="echo", stream=stream, store=False, metadata={"about": UNTOLD}, **asked)
    assert UNTOLD in response.text
    [found, *_] = world.rows()
    assert found.id in response.text
    assert UNTOLD not in repr(found)
    content = (found.request, found.prompt, found.chunks, found.answer, found.steps, found.metadata)
    assert content == ({}, {}, [], [], [], {})
    assert (found.user, found.requested, found.outcome) == (world.caller.user, "echo", "completed")
    assert (found.stored, found.consent) == (False, False)


@both
def test_store_false_can_be_configured_to_capture_nothing(world, stream, monkeypatch):
    monkeypatch.setattr(world.up.services.pipeline._recorder, "_store_false", "none")
    before = len(world.rows())
    assert world.post(model="echo", messages=QUESTION, stream=stream, store=False).is_success
    assert len(world.rows()) == before
    assert world.post(model="echo", messages=QUESTION, stream=stream).is_success
    assert len(world.rows()) == before + 1


def test_a_turn_of_a_conversation_is_not_to_be_unstored(world, conversation):
    refused = world.post(model="echo", messages=QUESTION, conversation=conversation, store=False)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "store")
    assert world.http.get(f"/v1/conversations/{conversation}/items").json()["data"] == []


@both
def test_chained_responses_share_a_session(world, conversation, stream):
    first = respond(world, stream=stream)["id"]
    second = respond(world, stream=stream, previous_response_id=first)["id"]
    world.http.delete(f"/v1/responses/{first}")
    respond(world, stream=stream, previous_response_id=second, store=False)
    assert [row.session_id for row in world.rows()[:2]] == [first, first]
    inside = respond(world, stream=stream, conversation=conversation)
    respond(world, stream=stream, previous_response_id=inside["id"])
    after, within = world.rows()[:2]
    assert (within.conversation_id, within.item_id) == (conversation, inside["output"][-1]["id"])
    assert (after.conversation_id, after.item_id) == (None, None)
    assert after.session_id == within.session_id == conversation


@both
def test_deleting_a_response_deletes_its_rating(world, conversation, stream):
    made = respond(world, stream=stream, conversation=conversation)
    targets = {"response": made["id"], "message": made["output"][-1]["id"]}
    for kind, id in targets.items():
        assert world.post("/v1/feedback", target={"type": kind, "id": id}, thumb="up").status_code == 200
    assert world.http.delete(f"/v1/responses/{made['id']}").status_code == 200
    rated = {kind: world.http.get(f"/v1/feedback?target={id}").json()["data"] for kind, id in targets.items()}
    assert (rated["response"], len(rated["message"])) == ([], 1)
    assert made["id"] not in [row.id for row in world.rows()]


@pytest.mark.parametrize(("model", "stream"), [("cut", True), ("status-500", True), ("status-500", False)])
def test_a_broken_response_is_captured_but_not_stored(world, conversation, model, stream):
    world.post("/v1/responses", model=model, input="hi", stream=stream, conversation=conversation, store=True)
    [found, *_] = world.rows()
    assert (found.outcome, found.conversation_id, found.item_id) == ("error", conversation, None)
    assert world.http.get(f"/v1/responses/{found.id}").status_code == 404
    assert world.sdk.conversations.items.list(conversation).data == []


@both
def test_responses_are_stored_without_capture(world, stream):
    before = len(world.rows())
    made = respond(world, "silent", stream, store=True)
    assert len(world.rows()) == before
    assert world.http.get(f"/v1/responses/{made['id']}").status_code == 200


@both
def test_a_fixed_answer_is_a_response_too(world, stream):
    response = world.post("/v1/responses", model="reads", input="What is fire?", stream=stream, store=True)
    [found, *_] = world.rows()
    assert f'"{found.id}"' in response.text
    assert (found.prompt, found.chunks, found.consent) == ({}, [], True)
    [item] = world.http.get(f"/v1/responses/{found.id}").json()["output"]
    assert item["content"][0]["text"] == "I do not know."


@both
def test_an_answer_that_cannot_be_cited_is_captured_as_far_as_it_came(world, stream, monkeypatch):
    async def fails(answer, hits):
        raise RetrievalUnavailable("gone")

    monkeypatch.setattr(world.up.services.retrieval, "attribute", fails)
    world.ask("reads", [{"role": "user", "content": "How deep is the sea?"}], stream)
    newest = world.rows()[0]
    assert (newest.outcome, newest.error_code) == ("error", None)
    assert newest.answer[0]["message"]["content"]
