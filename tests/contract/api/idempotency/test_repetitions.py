"""Requests that are sent twice with a key: which routes repeat their answers, by which keys."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import openai
import pytest
from sqlalchemy import event

from serving.api.operations import OPERATIONS
from serving.store.relational import tables
from tests.callers.identity import key_of
from tests.contract.api.idempotency.scripted import (
    CHAT,
    COMPLETIONS,
    GENERATIONS,
    HI,
    MESSAGES,
    RESPONSES,
    refused,
    same,
)
from tests.contract.inference.test_chat_conversation import both
from tests.wait import eventually

KEYED = [op.path for op in OPERATIONS if op.once is not None]


def test_the_routes_that_take_a_key():
    assert KEYED == [
        CHAT,
        RESPONSES,
        COMPLETIONS,
        MESSAGES,
        "/v1/batches",
        "/v1/vector_stores",
        "/v1/vector_stores/{store_id}/files",
        "/v1/vector_stores/{store_id}/file_batches",
        "/v1/conversations",
        "/v1/conversations/{conversation_id}/fork",
        "/v1/conversations/{conversation_id}/items",
        "/v1/shares",
        "/v1/feedback",
        "/v1/memories",
    ]


@pytest.mark.parametrize("path", KEYED)
def test_a_repetition_gets_the_first_answer_from_any_gateway(world, path):
    path, body = world.made(path)
    key = world.key()
    first = world.post(path, body, key)
    counted = (tables.captures, tables.responses, tables.conversations, tables.conversation_items, tables.feedback)
    before, prompts = [world.count(table) for table in counted], len(world.engine.prompts)
    same(first, world.post(path, body, key, world.other))
    same(first, world.post(path, body, f'"{key}"'))
    assert [world.count(table) for table in counted] == before
    assert len(world.engine.prompts) == prompts
    refused(world.post(path, body | {"user": "x"}, key), 422, "idempotency_key_reused")
    refused(world.post("/v1/conversations", {}, key), 422, "idempotency_key_reused")
    assert world.post(path, body, world.key()).headers.get("idempotency-replayed") is None


@pytest.mark.parametrize("path", GENERATIONS)
def test_a_stream_is_sent_again_as_it_was(world, path):
    body, key = GENERATIONS[path] | {"stream": True}, world.key()
    first = world.post(path, body, key)
    assert first.headers["content-type"].startswith("text/event-stream")
    assert first.text.endswith("data: [DONE]\n\n") or "response.completed" in first.text or "message_stop" in first.text
    same(first, world.post(path, body, key, world.other))


@both
@pytest.mark.parametrize(
    ("model", "said"),
    [("reads", "What is fire?"), ("reads", "How deep is the sea?"), ("thinks", "1 + 1?"), ("silent", "hi")],
    ids=["refusal", "citations", "strategy", "uncaptured"],
)
def test_an_assistants_answer_is_replayed_for_the_same_key(world, model, said, stream):
    body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": stream}
    first = world.post(CHAT, body, key := world.key())
    prompts = len(world.engine.prompts)
    same(first, world.post(CHAT, body, key))
    assert len(world.engine.prompts) == prompts


@both
def test_a_repeated_request_adds_its_turn_once(world, stream):
    body = {"model": "echo", "messages": HI, "conversation": world.conversation(), "stream": stream}
    first = world.post(CHAT, body, key := world.key())
    same(first, world.post(CHAT, body, key))
    items = world.http.get(f"{world.up.url}/v1/conversations/{body['conversation']}/items").json()["data"]
    assert len(items) == 2


def test_one_that_is_still_answered_is_a_409_and_then_the_answer(world):
    world.engine.release.clear()
    prompts = len(world.engine.prompts)
    body, key = {"model": "slow", "messages": HI}, world.key()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(world.post, CHAT, body, key)
        eventually(lambda: len(world.engine.prompts) > prompts, "the first is with the engine")
        early = refused(world.post(CHAT, body, key, world.other), 409, "idempotency_key_in_use")
        assert int(early.headers["retry-after"]) > 0
        refused(world.post(CHAT, body | {"n": 1}, key), 422, "idempotency_key_reused")
        world.engine.release.set()
        same(first.result(), world.post(CHAT, body, key, world.other))


@pytest.mark.parametrize("path", [CHAT, "/v1/conversations"], ids=["held", "in one transaction"])
def test_one_of_fifty_concurrent_repetitions_is_executed(world, path):
    path, body = world.made(path)
    prompts = len(world.engine.prompts)
    headers = {**world.http.headers, "Idempotency-Key": world.key()}

    def post(n):
        with httpx.Client(headers=headers, verify=False, timeout=60) as client:
            return client.post((world.up, world.other)[n % 2].url + path, json=body)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    good = [a for a in answers if a.status_code == 200]
    assert len({a.content for a in good}) == 1
    assert sum("idempotency-replayed" not in a.headers for a in good) == 1
    if path in GENERATIONS:
        assert len(world.engine.prompts) == prompts + 1
        assert {a.status_code for a in answers} <= {200, 409}
    else:  # they wait for the first
        assert len(good) == 50


def test_uploads_reject_idempotency_keys(world):
    body = {"name": "many", "file_ids": [f"file-{n}" for n in range(51)]}
    for key in (world.key(), None):
        error = refused(world.post("/v1/vector_stores", body, key), 400, "invalid_value").json()["error"]
        assert error["param"] == "file_ids"


def test_a_stream_that_is_replayed_is_resumable(world):
    headers = {"Idempotency-Key": world.key(), "headrace-resumable": "true"}
    body = {"model": "echo", "messages": HI, "stream": True}
    first, again = (world.http.post(world.up.url + CHAT, json=body, headers=headers) for _ in range(2))
    assert again.headers["idempotency-replayed"] == "true"
    assert "content-length" not in again.headers
    ids = [response.headers["headrace-stream"] for response in (first, again)]
    assert ids[0] != ids[1]
    assert again.text.replace(ids[1], ids[0]) == first.text
    followed = world.http.get(f"{world.up.url}/v1/streams/{ids[1]}", headers={"Last-Event-ID": f"{ids[1]}.1"})
    assert again.text.endswith(followed.text)


def test_a_key_is_its_users_own(world):
    owner = world.do(world.up.services.authenticate(world.http.headers["authorization"]))
    key_of_other = world.do(key_of(world.up.services, replace(owner, user="another")))
    body, key = GENERATIONS[CHAT], world.key()
    first = world.post(CHAT, body, key)
    headers = {"Authorization": f"Bearer {key_of_other}", "Idempotency-Key": key}
    theirs = world.http.post(world.up.url + CHAT, json=body, headers=headers)
    assert theirs.status_code == 200
    assert "idempotency-replayed" not in theirs.headers
    assert theirs.json()["id"] != first.json()["id"]


@pytest.mark.parametrize(
    "key", ["", '""', "k" * 256, '"' + "k" * 254 + '"', '"open', '"a"b"', '"a";p=1', '"\\n"', "caf\xe9", "a\tb"]
)
def test_invalid_keys_are_rejected(world, key):
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    refused(
        world.http.post(world.up.url + CHAT, json=GENERATIONS[CHAT], headers=headers), 400, "invalid_idempotency_key"
    )


def test_two_keys_in_one_request_are_rejected(world):
    headers = [(b"idempotency-key", b"a"), (b"idempotency-key", b"a")]
    refused(
        world.http.post(world.up.url + CHAT, json=GENERATIONS[CHAT], headers=headers), 400, "invalid_idempotency_key"
    )


@pytest.mark.parametrize(
    "key", ["k" * 255, "a b", '"' + "q" * 253 + '"', "8e03978e-40d5-43dd-bc93-6894a57f9324", "a\"b'"]
)
def test_valid_keys_replay_the_answer(world, key):
    first = world.post("/v1/conversations", {}, key)
    same(first, world.post("/v1/conversations", {}, key))


def test_quotes_are_not_part_of_a_key(world):
    first = world.post("/v1/conversations", {}, r'"say \"hi\" \\ now"')
    same(first, world.post("/v1/conversations", {}, r'say "hi" \ now'))


def test_an_upload_refuses_a_key(world):
    files = {"file": ("a.md", b"a")}
    headers = {"Idempotency-Key": world.key()}
    posted = world.http.post(f"{world.up.url}/v1/files", data={"purpose": "assistants"}, files=files, headers=headers)
    refused(posted, 400, "idempotency_not_supported")


def test_a_body_with_a_key_has_the_same_bounds(world):
    headers = {"Idempotency-Key": world.key(), "Content-Type": "application/json"}
    url = world.up.url + CHAT
    refused(world.http.post(url, content=b"{", headers=headers), 400, "invalid_json")
    refused(
        world.http.post(url, content=b"{}", headers=headers | {"Content-Encoding": "gzip"}), 415, "unsupported_encoding"
    )
    refused(world.http.post(url, content=b" " * 8_000_001, headers=headers), 413, "request_too_large")


@pytest.mark.parametrize("path", KEYED)
def test_requests_without_a_key_cause_no_extra_queries(world, path):
    path, body = world.made(path)
    asked = []

    def note(connection, cursor, statement, *rest):
        asked.append(statement)

    def checkout(driver, *_):
        driver.set_trace_callback(asked.append)

    database = world.up.services.database
    engines = [
        (database._engine.sync_engine, "before_cursor_execute", note),
        (database._blocking, "checkout", checkout),
        (database._committing, "checkout", checkout),
    ]
    for each in engines:
        event.listen(*each)
    try:
        world.post(path, body)
        without, asked[:] = list(asked), []
        world.post(path, body, world.key())
    finally:
        for each in engines:
            event.remove(*each)
    assert without
    assert not [statement for statement in without if "idempotency" in statement]
    assert [statement for statement in asked if "idempotency" in statement]


def test_openais_sdk_retries_with_the_same_key(world):
    """Its retries carry one key, if it is told the header: one that is early waits for the first."""
    world.engine.release.clear()
    prompts = len(world.engine.prompts)
    base = f"{world.up.url}/v1"
    with ThreadPoolExecutor() as pool, openai.OpenAI(base_url=base, api_key=world.other.key, max_retries=5) as sdk:
        key = {"Idempotency-Key": world.key()}

        def ask():
            answer = sdk.chat.completions.create(model="slow", messages=HI, stream=True, extra_headers=key)
            return next(part.id for part in answer)

        first = pool.submit(ask)
        eventually(lambda: len(world.engine.prompts) > prompts, "the first is with the engine")
        second = pool.submit(ask)
        world.engine.release.set()
        assert first.result() == second.result()
    assert len(world.engine.prompts) == prompts + 1


def test_openais_sdk_with_its_own_header(world):
    base = f"{world.up.url}/v1"
    with openai.OpenAI(base_url=base, api_key=world.other.key, max_retries=2) as sdk:
        sdk._idempotency_header = "Idempotency-Key"
        ids = {sdk.chat.completions.create(model="echo", messages=HI).id for _ in range(2)}
        assert len(ids) == 2  # each call has a key of its own
        with pytest.raises(openai.InternalServerError):
            sdk.chat.completions.create(model="status-500", messages=HI)


def test_the_openapi_document_describes_idempotency_keys(world):
    document = world.http.get(f"{world.up.url}/openapi.json").json()
    for path, operation in document["paths"].items():
        post = operation.get("post", {"parameters": [], "responses": {}})
        says = any(p["name"] == "Idempotency-Key" and p["in"] == "header" for p in post["parameters"])
        assert says == (path in KEYED), path
        assert ("422" in post["responses"]) == (path in KEYED), path
    assert json.dumps(document).count("Idempotency-Replayed") == len(KEYED)
