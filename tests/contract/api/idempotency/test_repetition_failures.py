"""Keys whose request fails, is cut off or goes on elsewhere, and answers that are not kept."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import func, select

from serving.core.uninterrupted import uninterrupted
from serving.store import idempotency
from serving.store.errors import StoreUnavailable
from serving.store.idempotency import claim_of
from serving.store.relational import tables
from tests.contract.api.idempotency.scripted import CHAT, GENERATIONS, HI, RESPONSES, refused, same
from tests.contract.inference.test_chat_conversation import both
from tests.wait import eventually


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "status-500", "messages": HI}, 502),
        ({"model": "status-500", "messages": HI, "stream": True}, 502),
        ({"model": "nobody", "messages": HI}, 404),
        ({"model": "echo", "messages": []}, 400),
        ({"model": "echo", "messages": HI, "conversation": "conv_gone"}, 404),
    ],
)
def test_an_error_releases_the_idempotency_key(world, body, status):
    key = world.key()
    for _ in range(2):
        assert world.post(CHAT, body, key).status_code == status
    good = world.post(CHAT, GENERATIONS[CHAT], key)
    same(good, world.post(CHAT, GENERATIONS[CHAT], key))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_answers_with_store_false_are_not_kept_for_replay(world, path, stream):
    body, key = GENERATIONS[path] | {"store": False, "stream": stream}, world.key()
    before = world.kept()
    assert world.post(path, body, key).status_code == 200
    again = refused(world.post(path, body, key), 409, "idempotency_answer_not_kept")
    assert "not to be stored" in again.json()["error"]["message"]
    assert world.kept() == before


def test_a_failed_transaction_releases_the_key(world):
    rating = {"target": {"type": "session", "id": "conv_gone"}, "thumb": "up"}
    key, keys = world.key(), world.count(tables.idempotency_keys)
    refused(world.post("/v1/feedback", rating, key), 404, "not_found")
    assert world.count(tables.idempotency_keys) == keys
    assert world.post("/v1/conversations", {}, key).status_code == 200


def test_a_broken_stream_releases_the_key(world):
    body, key = {"model": "cut", "messages": HI, "stream": True}, world.key()
    prompts = len(world.engine.prompts)
    for _ in range(2):
        assert '"engine_error"' in world.post(CHAT, body, key).text
    assert len(world.engine.prompts) == prompts + 2


def test_a_disconnect_releases_the_key(world):
    world.engine.release.clear()
    body, key = {"model": "slow", "messages": HI}, world.key()
    with pytest.raises(httpx.ReadTimeout):
        world.http.post(
            world.up.url + CHAT, json=body, headers={"Idempotency-Key": key}, timeout=httpx.Timeout(20, read=0.5)
        )
    world.engine.release.set()
    eventually(lambda: world.post(CHAT, body, key).status_code == 200, "the key is free")


def test_a_dead_gateways_key_expires(world, monkeypatch):
    caller = world.do(world.up.services.authenticate(world.http.headers["authorization"]))
    key, keys = world.key(), world.up.services.idempotency_keys
    body = GENERATIONS[CHAT]
    monkeypatch.setattr(idempotency, "LEASE_S", 3600.0)
    assert world.do(keys.claim(claim_of(caller, key, "f"))) is None
    refused(world.post(CHAT, body, key), 422, "idempotency_key_reused")
    over = world.key()
    monkeypatch.setattr(idempotency, "LEASE_S", -1.0)
    assert world.do(keys.claim(claim_of(caller, over, "f"))) is None
    monkeypatch.undo()
    same(world.post(CHAT, body, over), world.post(CHAT, body, over))


def test_a_key_is_held_while_the_answer_is_generated(world, monkeypatch):
    monkeypatch.setattr("serving.inference.idempotency_hold.LEASE_S", 0.03)
    world.engine.release.clear()
    body, key = {"model": "slow", "messages": HI}, world.key()
    caller = world.do(world.up.services.authenticate(world.http.headers["authorization"]))

    @uninterrupted
    async def read():
        query = select(func.max(tables.idempotency_keys.c.lease_until))
        query = query.where(tables.idempotency_keys.c.id == claim_of(caller, key, "").id)
        return await world.up.services.database.query(lambda connection: connection.execute(query).scalar_one())

    with ThreadPoolExecutor() as pool:
        first = pool.submit(world.post, CHAT, body, key)
        eventually(lambda: world.do(read()) is not None, "the key is taken")
        lease = world.do(read())
        eventually(lambda: world.do(read()) > lease, "the key is held on to")
        world.engine.release.set()
        same(first.result(), world.post(CHAT, body, key))


@both
def test_replayed_and_original_answers_are_identical(world, stream):
    """One whose key was taken over stores nothing: the other's answer is the only one."""
    world.engine.release.clear()
    prompts, conversation = len(world.engine.prompts), world.conversation()
    captures, key = world.count(tables.captures), world.key()
    body = {"model": "slow", "messages": HI, "conversation": conversation, "stream": stream}
    caller = world.do(world.up.services.authenticate(world.http.headers["authorization"]))

    @uninterrupted
    async def take_over():
        async with world.up.services.database.write() as connection:
            mine = tables.idempotency_keys.c.id == claim_of(caller, key, "").id
            taken = tables.idempotency_keys.update().where(mine).values(owner="another", lease_until=1.0)
            await connection.execute(taken)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(world.post, CHAT, body, key)
        eventually(lambda: len(world.engine.prompts) > prompts, "the first is with the engine")
        world.do(take_over())
        world.engine.release.set()
        assert '"conflict"' in first.result().text
    assert world.count(tables.captures) == captures
    assert '"data":[]' in world.http.get(f"{world.up.url}/v1/conversations/{conversation}/items").text
    same(world.post(CHAT, body, key), world.post(CHAT, body, key))


def test_an_answer_that_cannot_be_stored_is_not_returned(world, monkeypatch):
    async def fails(*args, **more):
        raise StoreUnavailable("the disk is full")

    key, body = world.key(), GENERATIONS[CHAT]
    with monkeypatch.context() as broken:
        broken.setattr(world.up.services.captures, "record", fails)
        refused(world.post(CHAT, body, key), 503, "unavailable")
    same(world.post(CHAT, body, key), world.post(CHAT, body, key))


@both
def test_an_answer_that_is_too_large_is_named_and_not_repeated(world, stream):
    said = "x" * idempotency.MAX_BODY
    body = {"model": "echo", "messages": [{"role": "user", "content": said}], "stream": stream}
    first = world.post(CHAT, body, key := world.key())
    prompts = len(world.engine.prompts)
    again = refused(world.post(CHAT, body, key), 409, "idempotency_answer_not_kept")
    assert again.headers["x-should-retry"] == "false"
    id = re.search(r'"id":"([\w-]+)"', first.text).group(1)
    assert id in again.json()["error"]["message"]
    assert len(world.engine.prompts) == prompts


def chat_in(conversation, text):
    return {"model": "echo", "messages": [{"role": "user", "content": text}], "conversation": conversation}


@pytest.mark.parametrize("what", ["conversation", "its item", "completion", "response", "feedback", "memory", "edit"])
def test_deleted_answers_are_not_replayed(world, what):
    url, key = world.up.url, world.key()
    text = f"swordfish {key}"
    path, method = "", "DELETE"
    if what in ("conversation", "its item"):
        id = world.conversation()
        posted = CHAT, chat_in(id, text), key
        world.post(*posted)
        items = f"/v1/conversations/{id}/items"
        world.post(items, world.made("/v1/conversations/{conversation_id}/items", text)[1], world.key())
        path = f"/v1/conversations/{id}"
        if what == "its item":
            [newest, *_] = world.http.get(url + items).json()["data"]
            path = f"{items}/{newest['id']}"
    elif what == "completion":
        posted = CHAT, {**chat_in(None, text), "store": True}, key
        path = f"{CHAT}/{world.post(*posted).json()['id']}"
    elif what == "response":
        posted = RESPONSES, {"model": "echo", "input": text}, key
        path = f"{RESPONSES}/{world.post(*posted).json()['id']}"
    else:
        route = "/v1/feedback" if what == "feedback" else "/v1/memories"
        posted = *world.made(route, text), key
        path = f"{route}/{world.post(*posted).json()['id']}"
        method = "POST" if what == "edit" else "DELETE"
    assert text in world.kept()
    body = {"text": f"another {key}"} if method == "POST" else None
    assert world.http.request(method, url + path, json=body).status_code == 200
    assert text not in world.kept()
    refused(world.post(*posted), 409, "idempotency_answer_not_kept")
