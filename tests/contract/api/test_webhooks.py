"""Webhooks: what is told of work in the background, verified by OpenAI's own client."""

from __future__ import annotations

import asyncio
import time

import httpx
import openai
import pytest
from aiohttp import web
from sqlalchemy import select

from serving.api.background import webhooks as sending
from serving.config import Catalog, RemoteModel
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background.webhooks import DELIVER, EVENTS, MAX_WEBHOOKS, announce
from serving.store.relational.database import Database
from serving.store.relational.tables import jobs
from tests.callers.identity import key_of
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

OTHER = "whsec_" + "A" * 43 + "="


class Receiver:
    """Answers with `status` and keeps what came; the model beside it says a word, or fails."""

    def __init__(self):
        self.status = 200
        self.got = []
        self.hanging = 0

    async def take(self, request):
        self.got.append((await request.read(), dict(request.headers)))
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})

    async def hang(self, request):
        self.hanging += 1
        await asyncio.Event().wait()

    async def chat(self, request):
        body = await request.json()
        if body["model"] == "fails":
            return web.json_response({"error": {"message": "no"}}, status=500)
        response = web.StreamResponse()
        await response.prepare(request)
        for choice in ('{"index":0,"delta":{"content":"hi"}}', '{"index":0,"delta":{},"finish_reason":"stop"}'):
            await response.write(b'data: {"id":"x","choices":[' + choice.encode() + b"]}\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


class World:
    def __init__(self, receiver, loop, up, port):
        self.receiver, self.loop, self.up = receiver, loop, up
        self.url = f"http://127.0.0.1:{port}/hook"
        self.admin = up.client()
        self.sdk = up.sdk()

    def hook(self, events=EVENTS):
        made = self.admin.post("/v1/admin/webhooks", json={"url": self.url, "events": [*events], "private": True})
        assert made.status_code == 200, made.text
        return made.json()

    def events(self, secret, id):
        """Returns the events about an object, as OpenAI's client reads them."""
        return [
            event
            for body, headers in list(self.receiver.got)
            if (event := self.sdk.webhooks.unwrap(body, headers, secret=secret)).data.id == id
        ]

    def deliveries(self):
        work = uninterrupted(self.up.services.database.group_commit)
        query = select(jobs).where(jobs.c.kind == DELIVER)
        return self.loop.do(work(lambda connection: connection.execute(query).mappings().all()))


@pytest.fixture
def world(tmp_path):
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    app.router.add_post("/hang", receiver.hang)
    app.router.add_post("/v1/chat/completions", receiver.chat)
    with Loop() as loop, engine(loop, app, cancels=True) as port:
        url = f"http://127.0.0.1:{port}/v1"
        catalog = Catalog(models=tuple(RemoteModel(name=name, url=url) for name in ("m", "fails")))
        with gateway(loop, tmp_path, catalog) as up:
            yield World(receiver, loop, up, port)


def test_events_are_signed_and_secrets_rotate(world):
    hook = world.hook()
    secret = hook["secret"]
    read = world.admin.get(f"/v1/admin/webhooks/{hook['id']}").json()
    assert "secret" not in read
    assert [read] == world.admin.get("/v1/admin/webhooks").json()["data"]
    done = world.sdk.responses.create(model="m", input="hi", background=True)
    [event] = eventually(lambda: world.events(secret, done.id), "the event comes")
    assert (event.type, event.object) == ("response.completed", "event")
    [(body, headers)] = world.receiver.got
    assert headers["webhook-id"] == event.id
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 120
    with pytest.raises(openai.InvalidWebhookSignatureError):
        world.sdk.webhooks.unwrap(body, headers, secret=OTHER)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        world.sdk.webhooks.unwrap(body + b" ", headers, secret=secret)

    rotated = world.admin.post(f"/v1/admin/webhooks/{hook['id']}/rotate", json={"overlap_s": 60}).json()["secret"]
    assert rotated != secret
    failed = world.sdk.responses.create(model="fails", input="hi", background=True)
    eventually(lambda: len(world.receiver.got) == 2, "the event comes")
    for good in (secret, rotated):
        event = world.sdk.webhooks.unwrap(*world.receiver.got[1], secret=good)
        assert (event.type, event.data.id) == ("response.failed", failed.id)
    assert world.admin.delete(f"/v1/admin/webhooks/{hook['id']}").json()["deleted"]
    assert world.admin.get(f"/v1/admin/webhooks/{hook['id']}").status_code == 404


def test_deliveries_are_retried_and_filtered_by_event(world):
    world.receiver.status = 307  # which is not followed
    secret = world.hook(events=["response.completed"])["secret"]
    of_batches = world.hook(events=["batch.failed"])["secret"]
    done = world.sdk.responses.create(model="m", input="hi", background=True)
    [job] = eventually(lambda: [j for j in world.deliveries() if j["error_message"]], "it was not taken")
    assert "the status 307" in job["error_message"]
    world.receiver.status = 200
    eventually(lambda: world.deliveries()[0]["status"] == "succeeded", "it was taken")
    assert {event.id for event in world.events(secret, done.id)} == {job["payload"]["event"]["id"]}, "the same event"
    assert len(world.deliveries()) == 1
    file = world.sdk.files.create(file=("in.jsonl", b"{"), purpose="batch")
    chat = "/v1/chat/completions"
    batch = world.sdk.batches.create(input_file_id=file.id, endpoint=chat, completion_window="24h")
    eventually(lambda: [d["status"] for d in world.deliveries()] == ["succeeded"] * 2, "the end of the batch is told")
    eventually(lambda: world.sdk.batches.retrieve(batch.id).status == "failed", "it is told of at its end")
    body, headers = world.receiver.got[-1]
    event = world.sdk.webhooks.unwrap(body, headers, secret=of_batches)
    assert (event.type, event.data.id) == ("batch.failed", batch.id)


def test_only_the_platform_may_use_private_addresses(world, monkeypatch):
    who = Principal("acme", "root", "")
    key = world.loop.do(key_of(world.up.services, who, role="admin"))
    tenant = httpx.Client(base_url=world.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    body = {"url": world.url, "events": ["response.completed"]}
    assert tenant.post("/v1/admin/webhooks", json=body | {"private": True}).status_code == 403
    assert tenant.post("/v1/admin/webhooks", json=body).json()["error"]["param"] == "url"
    for url in ("ftp://a.example/", "https://user:secret@a.example/", "x"):
        assert tenant.post("/v1/admin/webhooks", json=body | {"url": url}).status_code == 400
    made = tenant.post("/v1/admin/webhooks", json=body | {"url": world.url.replace("http:", "https:")}).json()
    webhook = world.loop.do(world.up.services.webhooks.get("acme", made["id"]))
    with pytest.raises(sending.NotDelivered, match="not allowed"):
        world.loop.do(sending._send(webhook, {"id": "evt_1"}))
    assert world.receiver.got == []


def test_receivers_that_hang_do_not_delay_the_deliveries_of_others(world, monkeypatch, caplog):
    monkeypatch.setattr(sending, "TIMEOUT_S", 600)
    hangs = {"url": world.url.replace("hook", "hang"), "events": ["response.completed"], "private": True}
    for tenant in ("slow", "slower"):
        key = world.loop.do(key_of(world.up.services, Principal(tenant, "root", ""), role="admin"))
        for _ in range(5):
            assert world.admin.post("/v1/admin/webhooks", params={"tenant": tenant}, json=hangs).status_code == 200
        theirs = httpx.Client(base_url=world.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
        for _ in range(3):
            queued = theirs.post("/v1/responses", json={"model": "m", "input": "hi", "background": True})
            assert queued.status_code == 200
    eventually(lambda: world.receiver.hanging == 2 * sending.EACH_AT_ONCE, "each tenant has its places")
    secret = world.hook()["secret"]
    for _ in range(3):
        done = world.sdk.responses.create(model="m", input="hi", background=True)
        eventually(lambda id=done.id: world.events(secret, id), "the event comes")
    assert world.receiver.hanging == 2 * sending.EACH_AT_ONCE
    assert not [record for record in caplog.records if record.exc_info]


@uninterrupted
async def happened(database: Database, tenant: str) -> None:
    await database.group_commit(lambda c: announce(c, tenant, "u", "response.completed", "resp_1"))


def test_a_tenants_admin_neither_sees_nor_changes_what_the_platform_set(world):
    who = Principal("acme", "root", "")
    key = world.loop.do(key_of(world.up.services, who, role="admin"))
    tenant = httpx.Client(base_url=world.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)
    body = {"url": "https://hooks.example.com/", "events": ["response.completed"]}
    of = {"params": {"tenant": "acme"}}
    theirs = world.admin.post("/v1/admin/webhooks", json=body, **of).json()
    own = [tenant.post("/v1/admin/webhooks", json=body).json() for _ in range(MAX_WEBHOOKS)]
    assert (theirs["set_by"], {each["set_by"] for each in own}) == ("platform", {"tenant"})
    assert tenant.post("/v1/admin/webhooks", json=body).status_code == 429
    path = f"/v1/admin/webhooks/{theirs['id']}"
    for answer in (
        tenant.get(path),
        tenant.post(f"{path}/rotate", json={"overlap_s": 0}),
        tenant.delete(path),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert {each["id"] for each in tenant.get("/v1/admin/webhooks?limit=100").json()["data"]} == {w["id"] for w in own}
    everything = world.admin.get("/v1/admin/webhooks?tenant=acme&limit=100").json()["data"]
    assert {each["id"] for each in everything} == {theirs["id"], *(w["id"] for w in own)}
    assert world.loop.do(world.up.services.webhooks.get("acme", theirs["id"])).secret == theirs["secret"]
    world.loop.do(happened(world.up.services.database, "acme"))
    waiting = tenant.get("/v1/admin/jobs?kind=deliver_webhook&limit=100").json()["data"]
    answers = [tenant.post(f"/v1/admin/jobs/{job['id']}/cancel").status_code for job in waiting]
    assert sorted(answers) == [200] * MAX_WEBHOOKS + [404], "the platform's delivery goes on"
    for each in (theirs, own[0]):
        rotated = world.admin.post(f"/v1/admin/webhooks/{each['id']}/rotate", json={"overlap_s": 0}, **of).json()
        assert rotated["secret"] not in (each["secret"], None)
