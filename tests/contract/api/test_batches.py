"""Batches over two gateways: every line has one answer, whatever is cancelled, refused or killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter

import httpx
import numpy as np
import openai
import pytest
from aiohttp import web
from sqlalchemy import select

from serving.api.background import batches as running
from serving.config import Catalog, RemoteModel
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.background import batches as stored
from serving.store.background.batches import BATCH, Batches
from serving.store.relational.tables import batch_lines, batches, captures, jobs, keys
from tests.callers.identity import key_of
from tests.contract.running import Loop, engine, gateway
from tests.stacks.ports import reserve
from tests.wait import eventually

CHAT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
BODIES = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/embeddings": {"model": "embeds", "input": "hi"},
}


class Engine:
    """Answers with what it was asked; of those who come while the gate is shut, `free` are let in."""

    def __init__(self):
        self.asked = Counter()
        self.open = 0
        self.free = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def answer(self, request):
        body = await request.json()
        said = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        self.asked[said] += 1
        self.open += 1
        try:
            if self.free > 0:
                self.free -= 1
            else:
                await self.gate.wait()
        finally:
            self.open -= 1
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        message = {"role": "assistant", "content": said}
        choice = {"index": 0, "message": message, "text": said, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": usage})


class Embeds:
    """Retrieval that only embeds."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        return np.ones((len(args[0]), 2), np.float32), len(args[0])


class World:
    def __init__(self, scripted, loop, ups, folder, engine_port):
        self.engine, self.loop, self.ups, self.folder, self.engine_port = scripted, loop, ups, folder, engine_port
        self.up = ups[0]
        self.clients = [self.client(up, up.key) for up in ups]

    @staticmethod
    def client(up, key):
        return openai.OpenAI(base_url=f"{up.url}/v1", api_key=key, max_retries=0)

    def user(self, name):
        return self.client(self.up, self.loop.do(key_of(self.up.services, Principal("default", name, ""))))

    @contextlib.contextmanager
    def shut(self, free=0):
        """The gate, shut for this test after so many."""

        async def new():
            self.engine.gate, self.engine.free = asyncio.Event(), free

        self.loop.do(new())
        try:
            yield
        finally:
            self.engine.free = 0
            self.loop.loop.call_soon_threadsafe(self.engine.gate.set)

    def rows(self, table, *where):
        return self.run(select(table).where(*where), lambda found: found.mappings().all())

    def run(self, statement, of=lambda found: None):
        work = uninterrupted(self.up.services.database.group_commit)
        return self.loop.do(work(lambda connection: of(connection.execute(statement))))

    def begin(self, lines, client=None, endpoint=CHAT, **more):
        client = client or self.clients[0]
        text = "\n".join(json.dumps({"method": "POST", "url": endpoint} | line) for line in lines)
        file = client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
        return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)

    def end(self, batch, client=None):
        """Waits until a batch has ended; returns it with the lines of its files."""
        client = client or self.clients[1]
        read = client.batches.retrieve
        done = eventually(lambda: (found := read(batch.id)).status in ENDED and found, "the batch has ended", 60)
        files = [done.output_file_id, done.error_file_id]
        texts = [client.files.content(id).text if id else "" for id in files]
        return done, *([json.loads(line) for line in text.splitlines()] for text in texts)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, loop, folder = Engine(), Loop(), tmp_path_factory.mktemp("gateways")
    app = web.Application()
    for path in (CHAT, "/v1/completions"):
        app.router.add_post(path, scripted.answer)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(engine(loop, app, cancels=True))
        model = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", max_in_flight=64)
        catalog = Catalog(models=(model,))
        ups = [stack.enter_context(gateway(loop, folder, catalog, retrieval=Embeds())) for _ in range(2)]
        yield World(scripted, loop, ups, folder, port)
    loop.stop()


def line(id, said=None, **body):
    return {"custom_id": id, "body": BODIES[CHAT] | {"messages": [{"role": "user", "content": said or id}]} | body}


def test_every_line_is_answered_once(world):
    lines = [line(f"once-{n}") for n in range(60)]
    lines[7]["body"]["model"] = "nobody"
    lines[8]["body"]["store"] = False
    batch = world.begin(lines, metadata={"a": "b"})
    assert (batch.status, batch.metadata, batch.completion_window) == ("validating", {"a": "b"}, "24h")
    assert batch.expires_at - batch.created_at == 86_400
    done, told, errors = world.end(batch)
    assert (done.status, done.request_counts.model_dump()) == (
        "completed",
        {"total": 60, "completed": 59, "failed": 1},
    )
    assert [one["custom_id"] for one in told] == [f"once-{n}" for n in range(60) if n != 7], "in the order of the file"
    for one in told:
        assert one["response"]["body"]["choices"][0]["message"]["content"] == one["custom_id"]
        assert (one["response"]["status_code"], one["error"]) == (200, None)
    [refused] = errors
    assert (refused["custom_id"], refused["response"]["status_code"]) == ("once-7", 404)
    assert refused["response"]["body"]["error"]["code"] == "model_not_found"
    assert all(count == 1 for said, count in world.engine.asked.items() if said.startswith("once-"))
    kept = world.rows(captures, captures.c.id.in_([one["response"]["body"]["id"] for one in told]))
    assert len(kept) == 59
    assert {row["request_id"] for row in kept} == {one["response"]["request_id"] for one in told}
    assert world.rows(batch_lines, batch_lines.c.batch_id == batch.id) == [], "they are in the files"
    listed = world.clients[0].batches.list(limit=1)
    assert [one.id for one in listed.data] == [batch.id]
    output = world.clients[0].files.retrieve(done.output_file_id)
    assert (output.purpose, output.headrace["access"]) == ("batch_output", {"users": ["admin"], "groups": []})


@pytest.mark.parametrize("endpoint", BODIES)
def test_each_endpoint_is_served(world, endpoint):
    body = dict(BODIES[endpoint])
    if endpoint == "/v1/embeddings":
        body["model"] = world.up.services.retrieval.embedder
    done, told, errors = world.end(world.begin([{"custom_id": "a", "body": body}], endpoint=endpoint))
    assert (done.status, errors) == ("completed", [])
    assert told[0]["response"]["body"]["usage"]["total_tokens"] > 0
    if endpoint == "/v1/responses":
        assert world.clients[0].responses.retrieve(told[0]["response"]["body"]["id"]).output_text == "hi"


def test_a_file_that_is_wrong_fails_the_batch_with_each_line(world):
    batch = world.begin([line("a"), line("a"), {**line("b"), "method": "GET"}])
    done, told, _ = world.end(batch)
    assert (done.status, told) == ("failed", [])
    assert [(e.code, e.line) for e in done.errors.data] == [("duplicate_custom_id", 2), ("invalid_method", 3)]


def test_a_batch_with_an_invalid_file_is_rejected(world):
    create = world.clients[0].batches.create
    with pytest.raises(openai.NotFoundError) as missing:
        create(input_file_id="file-none", endpoint=CHAT, completion_window="24h")
    assert missing.value.param == "input_file_id"
    other = world.clients[0].files.create(file=("a.txt", b"text"), purpose="assistants")
    with pytest.raises(openai.BadRequestError) as wrong:
        create(input_file_id=other.id, endpoint=CHAT, completion_window="24h")
    assert wrong.value.param == "input_file_id"


def test_creating_a_batch_requires_data_read(world):
    asks = world.loop.do(key_of(world.up.services, Principal("default", "admin", ""), scopes=("inference",)))
    file = world.clients[0].files.create(file=("in.jsonl", b"{}"), purpose="batch")
    with pytest.raises(openai.PermissionDeniedError) as refused:
        world.client(world.up, asks).batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert (refused.value.code, refused.value.param) == ("insufficient_scope", "input_file_id")


def test_a_cancelled_batch_keeps_its_results(world):
    with world.shut(free=5):
        batch = world.begin([line(f"cut-{n}") for n in range(40)])
        counted = lambda: world.clients[0].batches.retrieve(batch.id).request_counts.completed  # noqa: E731
        eventually(lambda: counted() == 5, "five lines are answered")
        eventually(lambda: world.engine.open == 8, "so many lines are in flight at once, and no more")
        for client in world.clients:
            assert client.batches.cancel(batch.id).status == "cancelling"
        done, told, errors = world.end(batch)
        assert world.engine.open == 0
    assert (done.status, done.request_counts.completed, len(told)) == ("cancelled", 5, 5)
    assert len(errors) == 35
    assert {one["error"]["code"] for one in errors} == {"batch_cancelled"}
    assert world.clients[0].batches.cancel(batch.id).status == "cancelled"


def test_an_admin_cancels_the_job_of_a_batch(world):
    admin = world.clients[0]
    jobs_path, of_batches = "/admin/jobs", {"params": {"kind": BATCH, "limit": 1}}
    with world.shut(free=2):
        batch = world.begin([line(f"stop-{n}") for n in range(10)])
        counted = lambda: admin.batches.retrieve(batch.id).request_counts.completed  # noqa: E731
        eventually(lambda: counted() == 2, "two lines are answered")
        [job] = admin.get(jobs_path, cast_to=httpx.Response, options=of_batches).json()["data"]
        assert (job["status"], job["cancellable"], job["cancel_requested"]) == ("running", True, False)
        asked = admin.post(f"{jobs_path}/{job['id']}/cancel", cast_to=httpx.Response).json()
        assert (asked["id"], asked["cancel_requested"]) == (job["id"], True)
        done, told, errors = world.end(batch)
    assert (done.status, len(told), len(errors)) == ("cancelled", 2, 8)
    with pytest.raises(openai.ConflictError):
        admin.post(f"{jobs_path}/{job['id']}/cancel", cast_to=httpx.Response)


def test_revoking_permissions_ends_a_running_batch(world):
    client = world.user("leaver")
    with world.shut(free=1):
        batch = world.begin([line(f"left-{n}") for n in range(20)], client)
        eventually(lambda: client.batches.retrieve(batch.id).request_counts.completed == 1, "a line is answered")
        with pytest.raises(openai.NotFoundError):
            world.user("other").batches.retrieve(batch.id)
        [key] = world.rows(keys, keys.c.user == "leaver")
        world.loop.do(world.up.services.keys.revoke(Principal("default", "leaver", ""), key["id"]))
        ended = lambda: world.rows(batches, batches.c.id == batch.id)[0]["status"] == "failed"  # noqa: E731
        eventually(ended, "the batch has failed")
    row = world.rows(batches, batches.c.id == batch.id)[0]
    assert (row["completed"], row["errors"][0]["code"]) == (1, "insufficient_scope")
    assert row["output_file_id"]


def test_erasing_the_user_ends_their_batch(world):
    client = world.user("erased")
    with world.shut(free=1):
        batch = world.begin([line(f"erased-{n}") for n in range(20)], client)
        eventually(lambda: client.batches.retrieve(batch.id).request_counts.completed == 1, "a line is answered")
        world.run(batches.delete().where(batches.c.id == batch.id))  # as an erasure does it
        eventually(lambda: not world.engine.open, "nobody asks any more")
    [job] = [row for row in world.rows(jobs, jobs.c.kind == BATCH) if row["payload"] == {"batch_id": batch.id}]
    eventually(lambda: world.rows(jobs, jobs.c.id == job["id"])[0]["finished_at"], "the job has ended")
    assert world.rows(batch_lines, batch_lines.c.batch_id == batch.id) == []


def test_a_turn_that_is_over_lets_lines_end_and_begins_no_more(world, monkeypatch):
    monkeypatch.setattr(running, "TURN_S", 0.0)
    monkeypatch.setattr(running, "WATCH_S", 0.05)
    watched = []
    with world.shut():
        batch = world.begin([line(f"slow-{n}") for n in range(20)])
        eventually(lambda: world.engine.open == 8, "lines are under way")
        status = Batches.status

        async def counted(store, id):
            watched.append(id)
            return await status(store, id)

        monkeypatch.setattr(Batches, "status", counted)
        eventually(lambda: len(watched) > 2, "it was looked whether the turn is over")
        assert world.engine.open == 8
    done, told, errors = world.end(batch)
    assert (done.status, len(told), errors) == ("completed", 20, [])
    assert all(world.engine.asked[f"slow-{n}"] == 1 for n in range(20)), "none was broken off and asked again"


def test_a_batch_with_too_large_results_fails(world, monkeypatch):
    """The limit holds while the answers come: no model is asked for lines after it, and what there is can be read."""
    monkeypatch.setattr(stored, "MAX_OUTPUT", 6000)
    done, told, errors = world.end(world.begin([line(f"large-{n}", f"{n}" * 1000) for n in range(40)]))
    assert (done.status, [error.code for error in done.errors.data]) == ("failed", ["output_too_large"])
    assert (len(told), errors) == (2, [])
    assert (done.request_counts.completed, done.request_counts.failed) == (2, 0)
    assert sum(n for said, n in world.engine.asked.items() if len(said) >= 1000) < 20
    assert world.rows(batches, batches.c.id == done.id)[0]["answer_bytes"] == 0


def test_a_batch_expires_after_its_completion_window(world, monkeypatch):
    monkeypatch.setattr(running, "now", lambda: 2e10)
    done, told, errors = world.end(world.begin([line(f"late-{n}") for n in range(3)]))
    assert done.status in ("expired", "completed")
    assert len(told) + len(errors) == 3


@pytest.mark.parametrize(("lines", "kills"), [(60, 1), pytest.param(10_000, 40, marks=pytest.mark.soak)])
def test_kills_leave_exactly_one_answer_of_each_line(world, lines, kills):
    """Gateways of their own are killed in the middle of it; each time another one goes on by its lease."""
    [port] = reserve(1)
    database = f"sqlite:///{world.folder / 'h.db'}"
    command = [sys.executable, "-m", "tests.contract.campaigns.gateway", database, str(world.folder), str(port)]
    asked = [line(f"kill-{lines}-{n}") for n in range(lines)]
    with pytest.MonkeyPatch.context() as patch, world.shut(free=0):
        for up in world.ups:  # the processes alone work
            patch.setattr(up.services.jobs, "claim", _nothing)
        batch = world.begin(asked)
        counted = lambda: world.clients[0].batches.retrieve(batch.id).request_counts.completed  # noqa: E731
        for kill in range(kills):
            with subprocess.Popen([*command, str(world.engine_port)]) as process:
                try:
                    world.engine.free = lines // (kills + 1)
                    so_many = (kill + 1) * (lines // (kills + 1) - 8)
                    eventually(lambda n=so_many: counted() >= n and world.engine.open, "some are answered", 120)
                    process.send_signal(signal.SIGKILL)
                finally:
                    process.kill()
            eventually(lambda: not world.engine.open, "it is gone")
            world.run(jobs.update().where(jobs.c.kind == BATCH).values(lease_until=0))  # as if time had passed
            assert counted() >= so_many, kill
    done, told, errors = world.end(batch)
    assert (done.status, errors) == ("completed", [])
    assert done.request_counts.model_dump() == {"total": lines, "completed": lines, "failed": 0}
    assert [one["custom_id"] for one in told] == [one["custom_id"] for one in asked]
    for one in told:
        assert one["response"]["body"]["choices"][0]["message"]["content"] == one["custom_id"]
    told_of = [one["response"]["request_id"] for one in told]
    kept = world.rows(captures, captures.c.request_id.in_(told_of))
    assert len(kept) == len({row["id"] for row in kept}) == lines, "one capture of each"


async def _nothing(*args, **more):
    return None
