"""Responses in the background over two gateways: queued, answered once, replayed, cancelled, and never lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys

import httpx
import openai
import pytest
from aiohttp import web
from sqlalchemy import select

from serving.api.background.responses import EVENTS
from serving.config import Catalog, RemoteModel
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background.responses import RESPOND, job_of
from serving.store.relational.tables import captures, jobs, keys, responses
from tests.callers.identity import key_of
from tests.contract.running import Loop, engine, gateway
from tests.stacks.ports import reserve
from tests.wait import eventually

WORDS = ["one ", "two ", "three"]
ENDED = ("completed", "incomplete", "failed", "cancelled")


def frame(text=None, finish=None):
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'choices': [choice]})}\n\n".encode()


class Engine:
    """Says its words: `gated` the rest once the gate is open, `breaks` none of the rest; `refuses` says nothing."""

    def __init__(self):
        self.open = self.asked = 0
        self.gate = asyncio.Event()

    async def answer(self, request):
        kind = (await request.json())["model"]
        self.asked += 1
        if kind == "refuses":
            return web.json_response({"error": {"message": "no"}}, status=500)
        response = web.StreamResponse()
        self.open += 1
        try:
            await response.prepare(request)
            await response.write(frame(WORDS[0]))
            if kind == "breaks":
                return response
            if kind == "m":
                await self.gate.wait()
            for word in WORDS[1:]:
                await response.write(frame(word))
            usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5}
            await response.write(frame(finish="stop"))
            await response.write(f"data: {json.dumps({'choices': [], 'usage': usage})}\n\n".encode())
            await response.write(b"data: [DONE]\n\n")
        finally:
            self.open -= 1
        return response


class World:
    def __init__(self, scripted, loop, ups, folder, engine_port):
        self.engine, self.loop, self.ups, self.folder, self.engine_port = scripted, loop, ups, folder, engine_port
        self.up = ups[0]
        self.clients = [self.client(up, up.key) for up in ups]

    @staticmethod
    def client(up, key):
        return openai.OpenAI(base_url=f"{up.url}/v1", api_key=key, max_retries=0)

    def user(self, name, **more):
        key = self.loop.do(key_of(self.up.services, Principal("default", name, ""), **more))
        return self.client(self.up, key)

    @contextlib.contextmanager
    def shut(self):
        """The gate, shut for this test."""

        async def new():
            self.engine.gate = asyncio.Event()

        self.loop.do(new())
        try:
            yield
        finally:
            self.loop.loop.call_soon_threadsafe(self.engine.gate.set)

    def rows(self, table, *where):
        return self.run(select(table).where(*where), lambda found: found.mappings().all())

    def run(self, statement, of=lambda found: None):
        database = self.up.services.database
        work = uninterrupted(database.group_commit)
        return self.loop.do(work(lambda connection: of(connection.execute(statement))))

    def end(self, id, client=None):
        """Waits until a response has ended, and returns it."""
        read = (client or self.clients[1]).responses.retrieve
        return eventually(lambda: (found := read(id)).status in ENDED and found, "the response has ended")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, loop, folder = Engine(), Loop(), tmp_path_factory.mktemp("gateways")
    app = web.Application()
    app.router.add_post("/v1/chat/completions", scripted.answer)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(engine(loop, app, cancels=True))
        url = f"http://127.0.0.1:{port}/v1"
        catalog = Catalog(models=tuple(RemoteModel(name=n, url=url) for n in ("words", "m", "breaks", "refuses")))
        ups = [stack.enter_context(gateway(loop, folder, catalog)) for _ in range(2)]
        yield World(scripted, loop, ups, folder, port)
    loop.stop()


def ask(client, model="words", **more):
    return client.responses.create(model=model, input="hi", background=True, **more)


def test_a_background_response_completes(world):
    with world.shut():
        queued = ask(world.clients[0], "m", metadata={"a": "b"})
        assert (queued.status, queued.background, queued.output) == ("queued", True, [])
        eventually(lambda: world.clients[1].responses.retrieve(queued.id).status == "in_progress", "it is under way")
        with pytest.raises(openai.BadRequestError, match="no answer"):
            world.clients[0].responses.create(model="words", input="more", previous_response_id=queued.id)
    done = world.end(queued.id)
    assert (done.status, done.output_text, done.metadata) == ("completed", "one two three", {"a": "b"})
    assert (done.created_at, done.usage.total_tokens) == (queued.created_at, 5)
    assert world.clients[0].responses.cancel(queued.id) == done, "what has ended stays"
    [item] = world.clients[0].responses.input_items.list(queued.id)
    assert item.content[0].text == "hi"
    assert len(world.rows(captures, captures.c.id == queued.id)) == 1
    [job] = world.rows(jobs, jobs.c.id == job_of(queued.id))
    assert (job["status"], job["payload"]) == ("succeeded", {"response_id": queued.id}), "what was asked is not kept"
    more = {"model": "words", "input": "more", "previous_response_id": queued.id, "stream": True}
    assert [*world.clients[0].responses.create(**more)][-1].response.output_text == "one two three"


def test_a_stream_is_replayed_from_any_gateway_after_any_event(world):
    live = list(ask(world.clients[0], stream=True))
    assert [e.sequence_number for e in live] == list(range(len(live)))
    assert [e.type for e in live[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert live[-1].type == "response.completed"
    id = live[0].response.id
    for client in world.clients:
        for after in (None, 0, 3, len(live) - 2):
            more = {} if after is None else {"starting_after": after}
            assert list(client.responses.retrieve(id, stream=True, **more)) == live[0 if after is None else after + 1 :]
        with pytest.raises(openai.BadRequestError) as e:
            client.responses.retrieve(id, stream=True, starting_after=len(live))
        assert e.value.param == "starting_after"
    for up in world.ups:
        up.loop.loop.call_soon_threadsafe(up.services.detaching._buffers._ended.clear)
    [last] = world.clients[0].responses.retrieve(id, stream=True)
    assert (last.type, last.response, last.sequence_number) == ("response.completed", live[-1].response, EVENTS * 2 - 1)


def test_a_cancellation_shows_no_answer_to_a_key_that_reads_no_data(world):
    client = world.user("blind")
    done = world.end(ask(client, "words").id, client)
    assert done.output
    blind = world.user("blind", scopes=("inference",))
    answer = blind.post(f"/responses/{done.id}/cancel", cast_to=httpx.Response).json()
    assert answer == {"id": done.id, "object": "response", "status": "completed", "background": True}


def test_a_cancelled_response_stops_the_model_and_stays_cancelled(world):
    with world.shut():
        queued = ask(world.clients[0], "m")
        eventually(lambda: world.engine.open, "the model is asked")
        for client in (*world.clients, world.clients[0]):
            assert client.responses.cancel(queued.id).status == "cancelled"
        eventually(lambda: not world.engine.open, "the model is stopped")
        job = job_of(queued.id)
        eventually(lambda: world.rows(jobs, jobs.c.id == job)[0]["status"] == "cancelled", "the job has ended")
    assert world.clients[0].responses.retrieve(queued.id).status == "cancelled"
    last = [*world.clients[0].responses.retrieve(queued.id, stream=True)][-1]
    assert (last.type, last.response["status"]) == ("response.cancelled", "cancelled"), "a type that the SDK lacks"


@pytest.mark.parametrize("ends", ["deleted", "erased"])
def test_a_deleted_background_response_is_not_generated(world, ends):
    name = f"gone-{ends}"
    client = world.user(name)
    with world.shut():
        queued = ask(client, "m")
        eventually(lambda: world.engine.open, "the model is asked")
        if ends == "deleted":
            client.responses.delete(queued.id)
        else:  # as an erasure does it
            world.run(responses.delete().where(responses.c.user == name))
        eventually(lambda: not world.engine.open, "the model is stopped")
        finished = lambda: world.rows(jobs, jobs.c.id == job_of(queued.id))[0]["finished_at"]  # noqa: E731
        eventually(finished, "the job has ended")
    assert world.rows(responses, responses.c.id == queued.id) == []
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(queued.id)


@pytest.mark.parametrize(
    ("model", "code"), [("breaks", "server_error"), ("refuses", "server_error")], ids=["breaks off", "refuses"]
)
def test_a_failed_background_response_reports_its_error(world, model, code):
    events = list(ask(world.clients[0], model, stream=True))
    assert events[-1].type == "response.failed"
    failed = world.end(events[-1].response.id)
    assert (failed.status, failed.error.code) == ("failed", code)
    assert failed == events[-1].response


def test_revoking_a_key_cancels_its_queued_responses(world):
    client = world.user("revoked")
    with world.shut():
        taken = [ask(world.clients[0], "m") for _ in range(16)]  # all places of both gateways
        eventually(lambda: world.engine.open == 16, "every place is taken")
        waiting = ask(client)
        [key] = world.rows(keys, keys.c.user == "revoked")
        who, held = Principal("default", "revoked", ""), world.up.services.keys
        world.loop.do(held.rotate(who, key["id"], os.urandom(32).hex(), overlap_s=60))
        world.loop.do(held.revoke(who, key["id"]))  # it is not wanted any more, whatever follows it
    eventually(
        lambda: world.rows(responses, responses.c.id == waiting.id)[0]["body"]["status"] == "failed", "it has failed"
    )
    for one in taken:
        assert world.end(one.id).status == "completed"


def test_quotas_are_checked_at_submission_and_charged_once(world):
    client = world.user("thrifty")
    put = {"quotas": [{"subject": "user", "id": "thrifty", "window": "day", "measure": "requests", "limit": 2}]}
    http = httpx.Client(base_url=world.up.url, headers={"Authorization": f"Bearer {world.up.key}"})
    assert http.put("/v1/admin/quotas", json=put).status_code == 200
    for _ in range(2):
        assert world.end(ask(client).id, client).status == "completed"
    with pytest.raises(openai.RateLimitError):
        ask(client)
    [row] = eventually(
        lambda: [
            r
            for r in http.get("/v1/admin/usage", params={"user": "thrifty"}).json()["data"]
            if r["completion_tokens"] == 6
        ],
        "the usage is counted",
    )
    assert row["requests"] == 2


def test_a_request_with_an_idempotency_key_is_queued_once(world):
    headers = {"Idempotency-Key": "once"}
    first, again = (ask(client, extra_headers=headers) for client in world.clients)
    assert first == again
    assert world.end(first.id).status == "completed"


def test_the_gateway_that_answers_is_killed_and_another_brings_the_one_answer(world):
    [port] = reserve(1)
    database = f"sqlite:///{world.folder / 'h.db'}"
    command = [sys.executable, "-m", "tests.contract.campaigns.gateway", database, str(world.folder), str(port)]
    mine = world.rows(jobs, jobs.c.kind == RESPOND)
    with world.shut():
        before = world.engine.asked
        with pytest.MonkeyPatch.context() as patch:
            for up in world.ups:  # the process alone works
                patch.setattr(up.services.jobs, "claim", _nothing)
            with subprocess.Popen([*command, str(world.engine_port)]) as process:
                try:
                    queued = ask(world.clients[0], "m")
                    eventually(lambda: world.engine.asked == before + 1, "the process asks the model", 60)
                    process.send_signal(signal.SIGKILL)
                finally:
                    process.kill()
        world.run(jobs.update().where(jobs.c.id == job_of(queued.id)).values(lease_until=0))  # as if time had passed
        eventually(lambda: world.engine.asked == before + 2, "another gateway asks the model")
    events = list(world.clients[0].responses.retrieve(queued.id, stream=True, starting_after=4))
    assert [e.sequence_number for e in events] == list(range(EVENTS, EVENTS + len(events))), "all of the next attempt"
    assert world.end(queued.id).output_text == "one two three"
    assert len(world.rows(captures, captures.c.id == queued.id)) == 1
    assert len(world.rows(jobs, jobs.c.kind == RESPOND)) == len(mine) + 1


def test_following_a_response_counts_as_an_open_stream(world):
    theirs, admin = world.user("follower"), world.clients[0]
    queued = world.end(ask(theirs).id, theirs)
    quota = {"subject": "user", "id": "follower", "window": "concurrent", "measure": "streams", "limit": 0}
    made = admin.put("/admin/quotas", body={"quotas": [quota]}, cast_to=httpx.Response).json()["data"][0]
    before = len(world.rows(jobs, jobs.c.kind == RESPOND))
    for follows in (
        lambda: theirs.responses.retrieve(queued.id, stream=True),
        lambda: ask(theirs, stream=True),
    ):
        with pytest.raises(openai.RateLimitError):
            list(follows())
    assert len(world.rows(jobs, jobs.c.kind == RESPOND)) == before, "who may not follow it has nothing queued"
    assert theirs.responses.retrieve(queued.id).status == "completed"
    admin.put("/admin/quotas", body={"quotas": [quota | {"limit": 1}]}, cast_to=httpx.Response)
    for _ in range(2):  # one after the other
        assert list(theirs.responses.retrieve(queued.id, stream=True))[-1].type == "response.completed"
    admin.delete("/admin/quotas", cast_to=httpx.Response, options={"params": {"quota_id": made["quota_id"]}})


async def _nothing(*args, **more):
    return None
