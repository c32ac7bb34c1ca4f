"""Requests that are sent twice with a key: two gateways on one real store, before a scripted engine."""

from __future__ import annotations

import asyncio
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import httpx
import openai
import pytest
from sqlalchemy import event, func, select

from serving.api.operations import OPERATIONS
from serving.config import Assistant, Catalog, FactsMemory, RemoteModel
from serving.core.uninterrupted import uninterrupted
from serving.inference.idempotency_hold import Hold
from serving.store import idempotency
from serving.store.errors import StoreUnavailable
from serving.store.idempotency import claim_of
from serving.store.relational import tables
from tests.callers.identity import key_of
from tests.contract.inference.test_chat_conversation import Engine, Retrieval, both
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

KINDS = ["echo", "cut", "status-500", "slow"]
HI = [{"role": "user", "content": "hi"}]
CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
GENERATIONS = {
    CHAT: {"model": "echo", "messages": HI},
    COMPLETIONS: {"model": "echo", "prompt": "hi"},
    RESPONSES: {"model": "echo", "input": "hi"},
}
TEXT = "swordfish"


class World:
    def __init__(self, up, other, scripted, http):
        self.up, self.other, self.engine, self.http = up, other, scripted, http
        self._keys = count()

    def key(self):
        """Returns a key that nobody used."""
        return f"key-{next(self._keys)}"

    def post(self, path, body, key=None, gateway=None):
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.http.post((gateway or self.up).url + path, json=body, headers=headers)

    def do(self, coroutine):
        return self.up.loop.do(coroutine)

    def count(self, table):
        @uninterrupted
        async def counted():
            query = select(func.count()).select_from(table)
            return await self.up.services.database.query(lambda connection: connection.execute(query).scalar_one())

        return self.do(counted())

    def kept(self):
        """Returns all that is kept of answers, as text."""

        @uninterrupted
        async def read():
            query = select(tables.idempotency_answers.c.body)
            return await self.up.services.database.query(lambda connection: connection.execute(query).scalars().all())

        return "".join(idempotency.base64.b64decode(body).decode() for body in self.do(read()))

    def made(self, path, text=TEXT):
        """Makes what a request to `path` names; returns its path, and its body, which says `text`."""
        if path == "/v1/feedback":
            return path, {"target": {"type": "session", "id": self.conversation()}, "comment": text}
        if path == "/v1/memories":
            return path, {"assistant": "knows", "text": f"{text} {self.key()}"}
        if path == "/v1/vector_stores":
            return path, {"name": text}
        if path == "/v1/vector_stores/{store_id}/files":
            store = self.post("/v1/vector_stores", {"name": "n"}).json()["id"]
            file = self.http.post(
                f"{self.up.url}/v1/files", data={"purpose": "assistants"}, files={"file": ("a.md", self.key().encode())}
            )
            return path.format(store_id=store), {"file_id": file.json()["id"]}
        items = [{"type": "message", "role": "user", "content": text}]
        if path == "/v1/conversations":
            return path, {"items": items, "metadata": {"said": text}}
        if path == "/v1/conversations/{conversation_id}/items":
            return path.format(conversation_id=self.conversation()), {"items": items}
        return path, GENERATIONS[path]

    def conversation(self):
        return self.post("/v1/conversations", {}).json()["id"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, loop = Engine(), Loop()
    folder = tmp_path_factory.mktemp("gateway")
    with engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        assistants = (
            Assistant(name="reads", model="echo", knowledge=("sea",), refusal="I do not know."),
            Assistant(name="thinks", model="echo", strategy={"kind": "cot"}),
            Assistant(name="silent", model="echo", capture="none"),
            Assistant(name="knows", model="echo", memory=FactsMemory()),
        )
        catalog = Catalog(models=tuple(RemoteModel(name=name, url=url) for name in KINDS), assistants=assistants)
        with (
            gateway(loop, folder, catalog, retrieval=Retrieval()) as up,
            gateway(loop, folder, catalog, retrieval=Retrieval()) as other,
            # The second one's key took the place of the first one's.
            httpx.Client(headers={"Authorization": f"Bearer {other.key}"}, timeout=60) as http,
        ):
            yield World(up, other, scripted, http)
    loop.stop()


def refused(response, status, code):
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    return response


def same(first, second):
    """The second answer is the first one, said again."""
    assert (first.status_code, second.status_code) == (200, 200), (first.text, second.text)
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.content == first.content
    assert second.headers["content-type"] == first.headers["content-type"]


KEYED = [op.path for op in OPERATIONS if op.once is not None]


def test_the_routes_that_take_a_key():
    assert KEYED == [
        CHAT,
        RESPONSES,
        COMPLETIONS,
        "/v1/vector_stores",
        "/v1/vector_stores/{store_id}/files",
        "/v1/conversations",
        "/v1/conversations/{conversation_id}/items",
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
    assert first.text.endswith("data: [DONE]\n\n") or "response.completed" in first.text
    same(first, world.post(path, body, key, world.other))


@both
@pytest.mark.parametrize(
    ("model", "said"),
    [("reads", "What is fire?"), ("reads", "How deep is the sea?"), ("thinks", "1 + 1?"), ("silent", "hi")],
    ids=["refusal", "citations", "strategy", "uncaptured"],
)
def test_assistants(world, model, said, stream):
    body = {"model": model, "messages": [{"role": "user", "content": said}], "stream": stream}
    first = world.post(CHAT, body, key := world.key())
    prompts = len(world.engine.prompts)
    same(first, world.post(CHAT, body, key))
    assert len(world.engine.prompts) == prompts


@both
def test_a_conversation_has_the_turn_once(world, stream):
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


@pytest.mark.parametrize("path", [CHAT, RESPONSES, "/v1/conversations", "/v1/memories"])
def test_of_fifty_at_once_one_is_carried_out(world, path):
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
def test_an_error_gives_the_key_back(world, body, status):
    key = world.key()
    for _ in range(2):
        assert world.post(CHAT, body, key).status_code == status
    good = world.post(CHAT, GENERATIONS[CHAT], key)
    same(good, world.post(CHAT, GENERATIONS[CHAT], key))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", [CHAT, RESPONSES])
def test_the_answer_that_is_not_to_be_stored_is_not_kept_for_its_key(world, path, stream):
    body, key = GENERATIONS[path] | {"store": False, "stream": stream}, world.key()
    before = world.kept()
    assert world.post(path, body, key).status_code == 200
    again = refused(world.post(path, body, key), 409, "idempotency_answer_not_kept")
    assert "not to be stored" in again.json()["error"]["message"]
    assert world.kept() == before


def test_an_error_in_one_transaction_gives_the_key_back(world):
    rating = {"target": {"type": "session", "id": "conv_gone"}, "thumb": "up"}
    key, keys = world.key(), world.count(tables.idempotency_keys)
    refused(world.post("/v1/feedback", rating, key), 404, "not_found")
    assert world.count(tables.idempotency_keys) == keys
    assert world.post("/v1/conversations", {}, key).status_code == 200


def test_a_stream_that_broke_off_gives_the_key_back(world):
    body, key = {"model": "cut", "messages": HI, "stream": True}, world.key()
    prompts = len(world.engine.prompts)
    for _ in range(2):
        assert '"engine_error"' in world.post(CHAT, body, key).text
    assert len(world.engine.prompts) == prompts + 2


def test_many_files_would_hold_up_everybody(world):
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


def test_a_hang_up_gives_the_key_back(world):
    world.engine.release.clear()
    body, key = {"model": "slow", "messages": HI}, world.key()
    with pytest.raises(httpx.ReadTimeout):
        world.http.post(
            world.up.url + CHAT, json=body, headers={"Idempotency-Key": key}, timeout=httpx.Timeout(20, read=0.5)
        )
    world.engine.release.set()
    eventually(lambda: world.post(CHAT, body, key).status_code == 200, "the key is free")


def test_a_gateway_that_died_holds_its_key_for_a_while_only(world, monkeypatch):
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


def test_a_key_is_held_as_long_as_the_answer_takes(world, monkeypatch):
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


async def test_no_renewal_ends_after_a_pin(monkeypatch):
    """It would shorten what was to be held whatever comes."""
    monkeypatch.setattr("serving.inference.idempotency_hold.LEASE_S", 0.03)
    begun, go, done = asyncio.Event(), asyncio.Event(), []

    class Keys:
        async def renew(self, claim):
            begun.set()
            await go.wait()
            done.append("renewed")

        async def pin(self, claim):
            done.append("pinned")

    hold = Hold(Keys(), None)
    renewing = asyncio.create_task(hold.renew())
    await begun.wait()
    pinning = asyncio.create_task(hold.pin())
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(pinning, renewing)
    assert done == ["renewed", "pinned"]


@both
def test_what_is_answered_and_what_is_kept_do_not_differ(world, stream):
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


def test_an_answer_that_cannot_be_kept_is_not_given(world, monkeypatch):
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
def test_what_is_deleted_is_not_kept_for_repetition(world, what):
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
def test_keys_that_are_none(world, key):
    headers = [(b"idempotency-key", key.encode("latin-1"))]
    refused(
        world.http.post(world.up.url + CHAT, json=GENERATIONS[CHAT], headers=headers), 400, "invalid_idempotency_key"
    )


def test_two_keys_are_none(world):
    headers = [(b"idempotency-key", b"a"), (b"idempotency-key", b"a")]
    refused(
        world.http.post(world.up.url + CHAT, json=GENERATIONS[CHAT], headers=headers), 400, "invalid_idempotency_key"
    )


@pytest.mark.parametrize(
    "key", ["k" * 255, "a b", '"' + "q" * 253 + '"', "8e03978e-40d5-43dd-bc93-6894a57f9324", "a\"b'"]
)
def test_keys_that_are_taken(world, key):
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
def test_without_a_key_the_store_is_asked_nothing_more(world, path):
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


@both
def test_openais_sdk_repeats_with_a_key_of_its_own(world, stream):
    """Its retries carry one key, if it is told the header: one that is early waits for the first."""
    world.engine.release.clear()
    prompts = len(world.engine.prompts)
    base = f"{world.up.url}/v1"
    with ThreadPoolExecutor() as pool, openai.OpenAI(base_url=base, api_key=world.other.key, max_retries=5) as sdk:
        key = {"Idempotency-Key": world.key()}

        def ask():
            answer = sdk.chat.completions.create(model="slow", messages=HI, stream=stream, extra_headers=key)
            return next(part.id for part in answer) if stream else answer.id

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


def test_the_document_says_it(world):
    document = world.http.get(f"{world.up.url}/openapi.json").json()
    for path, operation in document["paths"].items():
        post = operation.get("post", {"parameters": [], "responses": {}})
        says = any(p["name"] == "Idempotency-Key" and p["in"] == "header" for p in post["parameters"])
        assert says == (path in KEYED), path
        assert ("422" in post["responses"]) == (path in KEYED), path
    assert json.dumps(document).count("Idempotency-Replayed") == len(KEYED)
