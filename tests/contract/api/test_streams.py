"""Resumable streams over two gateways: cut anywhere, gone on with anywhere."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.api.app import Api
from serving.api.resumable.ids import StreamIds
from serving.config import Catalog, Limits, RemoteModel
from serving.core.principal import Principal
from tests.callers.frames import frames, numbers
from tests.callers.identity import key_of
from tests.contract.running import Loop, engine, gateway
from tests.wait import eventually

WORDS = ["one ", 'tw"o ', "thr\nee ", "four ", "✓ ", "data: x\n\n", "seven"]


RESUMABLE = {"headrace-resumable": "true"}


ROUTES = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"]


routes = pytest.mark.parametrize("route", ROUTES)


def frame(text=None, finish=None):
    choice = {"index": 0, "delta": {} if text is None else {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'created': 1, 'choices': [choice]})}\n\n".encode()


class Engine:
    """`words` says its words; the others say the rest once the gate is open.

    `gated` says one word before, `flood` says much, and `silent` says nothing.
    """

    def __init__(self):
        self.open = 0
        self.gate = asyncio.Event()

    async def answer(self, request):
        kind = (await request.json())["model"]
        response = web.StreamResponse()
        self.open += 1
        try:
            if kind == "silent":
                await self.gate.wait()
            await response.prepare(request)
            await response.write(frame(WORDS[0]))
            if kind == "flood":
                for _ in range(100):
                    await response.write(frame("x" * 1000))
            if kind != "words":
                await self.gate.wait()
            for word in WORDS[1:]:
                await response.write(frame(word))
            await response.write(frame(finish="stop") + b"data: [DONE]\n\n")
        finally:
            self.open -= 1
        return response


class World:
    def __init__(self, scripted, loop, first, second, services, folder, url):
        self.engine, self.loop, self.one, self.other = scripted, loop, first, second
        self.services, self.folder, self.url = services, folder, url

    def open_gate(self):
        self.loop.loop.call_soon_threadsafe(self.engine.gate.set)

    @contextlib.contextmanager
    def shut(self):
        """The gate, shut for this test."""

        async def new():
            self.engine.gate = asyncio.Event()

        self.loop.do(new())
        yield
        self.open_gate()


LIMITS = Limits(stream_buffer_bytes=40_000, stream_buffers_bytes=400_000, in_flight=64)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    scripted, loop, folder = Engine(), Loop(), tmp_path_factory.mktemp("gateways")
    app = web.Application()
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, scripted.answer)
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(engine(loop, app, cancels=True))
        url = f"http://127.0.0.1:{port}/v1"
        catalog = Catalog(
            models=tuple(RemoteModel(name=n, url=url, max_in_flight=64) for n in ("words", "gated", "flood", "silent"))
        )
        clients, services = [], []
        for _ in range(2):
            up = stack.enter_context(gateway(loop, folder, catalog, limits=LIMITS))
            headers = {"Authorization": f"Bearer {up.key}"}
            clients.append(stack.enter_context(httpx.Client(base_url=up.url, headers=headers, timeout=60)))
            services.append(up.services)
        yield World(scripted, loop, *clients, services, folder, url)
    loop.stop()


def body(route, model):
    asked = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
        "/v1/completions": {"prompt": "hi"},
        "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 64},
    }
    return {"model": model, "stream": True, **asked.get(route, {"input": "hi"})}


def ask(client, model="words", route=ROUTES[0], headers=RESUMABLE):
    return client.stream("POST", route, json=body(route, model), headers=headers)


def begin(client, model="gated", route=ROUTES[0]):
    """Begins a stream and hangs up after its first piece; returns its id and that piece."""
    with ask(client, model, route) as response:
        return response.headers["headrace-stream"], next(response.iter_raw())


def follow(client, id, after=None):
    headers = {} if after is None else {"Last-Event-ID": f"{id}.{after}"}
    return client.get(f"/v1/streams/{id}", headers=headers)


def without_ids(data):
    """A stream as it is told to everybody: what is made anew each time is left out."""
    data = re.sub(rb"(?m)^id: .*\n", b"", data)
    return re.sub(rb'"(?:(?:item_|response_)?id|created_at|completed_at)":("[^"]*"|[\d.]+)', b"", data)


def at_rest(world):
    """Waits until no engine works and no request is admitted."""
    admissions = [s.admission for s in world.services]
    eventually(lambda: not world.engine.open and not any(a._active for a in admissions), "all has ended", 20)


def code(response):
    return response.status_code, response.json()["error"]["code"]


@routes
def test_resumable_and_plain_streams_are_identical(world, route):
    with ask(world.one, route=route, headers={"headrace-resumable": "false"}) as plain:
        assert "headrace-stream" not in plain.headers
        expected = plain.read()
    assert b"\nid: " not in b"\n" + expected
    with ask(world.one, route=route) as response:
        id, data = response.headers["headrace-stream"], response.read()
    assert without_ids(data) == without_ids(expected)
    assert numbers(id, frames(data)) == list(range(1, len(frames(data)) + 1))


@pytest.fixture(scope="module")
def ended(world):
    """A stream of each route that was received whole: its id and its frames."""
    kept = {}
    for route in ROUTES:
        with ask(world.one, route=route) as response:
            kept[route] = response.headers["headrace-stream"], frames(response.read())
    return kept


@routes
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), first=st.booleans())
def test_reconnects_anywhere_give_exactly_the_rest(world, ended, route, cuts, first):
    id, expected = ended[route]
    received, gateways = [], [world.one, world.other] if first else [world.other, world.one]
    for turn, cut in enumerate([*sorted(c % len(expected) for c in cuts), None]):
        rest = frames(follow(gateways[turn % 2], id, len(received)).content)
        assert received + rest == expected
        received = received if cut is None or cut < len(received) else expected[:cut]
        if cut is None:
            received = received + rest
    assert received == expected


@routes
def test_resuming_after_the_last_event_returns_nothing(world, ended, route):
    id, expected = ended[route]
    for client in (world.one, world.other):
        answer = follow(client, id, len(expected))
        assert (answer.status_code, answer.content) == (200, b"")
        assert code(follow(client, id, len(expected) + 1)) == (400, "invalid_value")


@routes
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_a_hang_up_does_not_end_a_resumable_stream(world, route, elsewhere):
    client = world.other if elsewhere else world.one
    with world.shut():
        id, seen = begin(world.one, route=route)
        after = len(frames(seen))
        with client.stream("GET", f"/v1/streams/{id}", headers={"Last-Event-ID": f"{id}.{after}"}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            assert world.engine.open == 1
            world.open_gate()
            rest = response.read()
    with ask(world.one, route=route, headers={}) as plain:
        assert without_ids(seen + rest) == without_ids(plain.read()).replace(b'"words"', b'"gated"')
    assert follow(client, id).content == seen + rest


def test_an_abandoned_stream_completes_and_is_captured(world):
    with world.shut():
        id, seen = begin(world.one)
        completion = re.search(rb'"id":"(chatcmpl-[^"]*)"', seen)[1].decode()
        assert world.services[0].admission._active == 1
    at_rest(world)
    assert follow(world.other, id).content.endswith(b"data: [DONE]\n\n")
    rating = {"target": {"type": "response", "id": completion}, "thumb": "up"}
    assert world.one.post("/v1/feedback", json=rating).status_code == 200


def test_a_plain_stream_and_one_that_has_not_begun_still_end_with_their_caller(world):
    with world.shut():
        with ask(world.one, "gated", headers={}) as response:
            pieces = response.iter_raw()  # httpx hangs up when this goes
            first = next(pieces)
            assert world.engine.open == 1, (response.status_code, first)
        at_rest(world)
        caller = http.client.HTTPConnection(world.one.base_url.host, world.one.base_url.port)
        asked = json.dumps(body(ROUTES[0], "silent"))
        caller.request("POST", ROUTES[0], asked, {**RESUMABLE, "Authorization": world.one.headers["Authorization"]})
        eventually(lambda: world.engine.open == 1, "the engine is asked", 20)
        caller.close()
        at_rest(world)


def test_a_stopping_gateway_waits_for_abandoned_streams(world):
    left = []
    catalog = Catalog(models=(RemoteModel(name="gated", url=world.url, max_in_flight=64),))

    async def receive():
        return {"type": "lifespan.shutdown"}

    async def send(message):
        left.append((message["type"], world.engine.open))

    with gateway(world.loop, world.folder, catalog, limits=LIMITS) as up, world.shut():
        with up.client() as client:
            begin(client)
        ending = asyncio.run_coroutine_threadsafe(Api(up.services)({"type": "lifespan"}, receive, send), up.loop.loop)
        up.loop.do(asyncio.sleep(0))
        assert not left
        assert not up.services.upstream._session.closed
        world.open_gate()
        ending.result(20)
        assert left == [("lifespan.shutdown.complete", 0)]
        assert up.services.upstream._session.closed
        assert up.services._working.done(), "jobs are given back"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_deleting_a_stream_stops_its_generation(world, elsewhere):
    client = world.other if elsewhere else world.one
    with world.shut():
        id, seen = begin(world.one)
        with client.stream("GET", f"/v1/streams/{id}") as response:
            pieces = response.iter_raw()
            assert next(pieces) == seen
            assert client.delete(f"/v1/streams/{id}").json()["deleted"]
            assert b"".join(pieces) == b""  # no end mark: it never looks complete
        at_rest(world)
    for again in (follow(client, id), client.delete(f"/v1/streams/{id}")):
        assert code(again) == (410, "stream_lost")


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
@routes
def test_a_stopped_stream_has_an_end(world, route, elsewhere):
    client = world.other if elsewhere else world.one
    with world.shut():
        id, seen = begin(world.one, route=route)
        with client.stream("GET", f"/v1/streams/{id}") as response:
            pieces = response.iter_raw()
            data = next(pieces)
            assert client.post(f"/v1/streams/{id}/stop").json() == {"id": id, "object": "stream", "stopped": True}
            data += b"".join(pieces)
        at_rest(world)
    assert data.startswith(seen)
    assert (b'"finish_reason":"stop"' in data, data.endswith(b"data: [DONE]\n\n")) == (route in ROUTES[:2],) * 2
    assert (b'"stop_reason":"end_turn"' in data, b"event: message_stop" in data) == (route == "/v1/messages",) * 2
    assert follow(client, id).content == data
    assert client.post(f"/v1/streams/{id}/stop").json()["stopped"]  # it has ended


def test_the_turn_of_a_stopped_stream_is_told(world):
    conversation = world.one.post("/v1/conversations", json={}).json()["id"]
    with world.shut():
        asked = body(ROUTES[0], "gated") | {"conversation": conversation}
        with world.one.stream("POST", ROUTES[0], json=asked, headers=RESUMABLE) as response:
            id, pieces = response.headers["headrace-stream"], response.iter_raw()
            next(pieces)
            world.other.post(f"/v1/streams/{id}/stop").raise_for_status()
            rest = b"".join(pieces)
    [*_, last, done] = [line for line in rest.splitlines() if line.startswith(b"data: ")]
    assert done == b"data: [DONE]"
    (choice,) = json.loads(last[6:])["choices"]
    told = choice["delta"]["headrace"]
    items = world.one.get(f"/v1/conversations/{conversation}/items", params={"order": "asc"}).json()["data"]
    assert (choice["finish_reason"], told["conversation"]) == ("stop", conversation)
    assert told["items"] == [item["id"] for item in items]
    assert [item["status"] for item in items] == ["completed", "incomplete"]


def test_streams_of_other_users_look_unknown(world, ended):
    id, _ = ended[ROUTES[0]]
    for stranger in (Principal("default", "eve", ""), Principal("other", "admin", "")):
        key = world.loop.do(key_of(world.services[0], stranger))
        for client in (world.one, world.other):
            headers = {"Authorization": f"Bearer {key}"}
            for method in ("GET", "DELETE"):
                answer = client.request(method, f"/v1/streams/{id}", headers=headers)
                assert code(answer) == (404, "not_found")
            assert code(client.post(f"/v1/streams/{id}/stop", headers=headers)) == (404, "not_found")
    assert follow(world.one, id).status_code == 200


def test_forged_stream_ids_are_rejected_without_lookup(world, ended):
    id, _ = ended[ROUTES[0]]
    listener = world.services[0].peers
    forged = StreamIds("f" * 40).new(listener.address, Principal("default", "admin", ""))
    for one in (forged, "stream_x", id + "A", id.swapcase()):
        assert code(world.one.get(f"/v1/streams/{one}")) == (404, "not_found")


def test_the_inner_listener_wants_the_streams_own_ticket(world, ended):
    id, other = ended[ROUTES[0]][0], ended[ROUTES[1]][0]
    address, ids = world.services[0].peers.address, world.services[0].stream_ids
    for ticket in ("x", ids.ticket(other), "é"):
        headers = {"Authorization": f"Bearer {ticket}".encode()}
        for method in ("GET", "DELETE"):
            assert (
                httpx.request(method, f"http://{address}/{id}?after=0", headers=headers, timeout=60).status_code == 404
            )


def test_slow_followers_are_limited_by_the_buffer(world):
    with world.shut():
        id, _ = begin(world.one, "flood")
        buffers = world.services[0].peers._buffers
        # Nobody is connected: the engine is read to its end, and what is kept stays below the bound.
        world.open_gate()
        at_rest(world)
        assert code(follow(world.other, id)) == (410, "stream_lost")
        assert buffers.get(id).size <= LIMITS.stream_buffer_bytes
        rest = follow(world.other, id, buffers.get(id)._first - 1).content
        assert rest.endswith(b"data: [DONE]\n\n")


def test_a_slow_caller_of_a_long_stream_gets_all_of_it(world):
    with world.shut(), ask(world.one, "flood") as response:
        pieces = response.iter_raw(100)
        found = next(pieces)
        world.open_gate()
        found += b"".join(pieces)
        id = response.headers["headrace-stream"]
    assert numbers(id, frames(found)) == list(range(1, len(frames(found)) + 1))
    assert found.count(b"xxx" * 300) == 100
    assert found.endswith(b"data: [DONE]\n\n")


def test_32_streams_are_resumed_without_loss_at_the_same_time(world):
    with world.shut(), ThreadPoolExecutor(32) as pool:
        begun = list(pool.map(lambda n: begin((world.one, world.other)[n % 2], route=ROUTES[n % 3]), range(32)))
        assert world.engine.open == 32
        following = [
            pool.submit(follow, (world.other, world.one)[n % 2], id, len(frames(seen)))
            for n, (id, seen) in enumerate(begun)
        ]
        world.open_gate()
        for (id, seen), rest in zip(begun, following, strict=True):
            whole = frames(seen + rest.result().content)
            assert numbers(id, whole) == list(range(1, len(whole) + 1))
            assert whole == frames(follow(world.one, id).content)
    assert len({id for id, _ in begun}) == 32


def test_non_streamed_answers_and_errors_are_unchanged(world):
    asked = {**body(ROUTES[0], "words"), "stream_options": {"include_usage": 3}}
    refused = world.one.post(ROUTES[0], json=asked, headers=RESUMABLE)
    assert code(refused) == (400, "invalid_value")
    nobody = world.one.post(ROUTES[0], json={}, headers={**RESUMABLE, "Authorization": "Bearer x"})
    assert code(nobody) == (401, "invalid_api_key")
    unclear = world.one.post(ROUTES[0], json={}, headers={"headrace-resumable": "yes"})
    assert code(unclear) == (400, "invalid_value")
    assert code(world.one.post("/v1/none", json={}, headers=RESUMABLE)) == (404, "not_found")


PROCESS = """
import json, pathlib, sys, threading
from serving.config import Catalog, RemoteModel
from tests.contract.running import Loop, gateway
catalog = Catalog(models=(RemoteModel(name="gated", url=sys.argv[2]),))
with gateway(Loop(), pathlib.Path(sys.argv[1]), catalog) as up:
    print(up.url, flush=True)
    threading.Event().wait()
"""


def test_the_death_of_the_owning_gateway_is_reported(world):
    command = [sys.executable, "-c", PROCESS, str(world.folder), world.url]
    with world.shut(), subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            url = process.stdout.readline().strip()
            with httpx.Client(base_url=url, headers=world.one.headers, timeout=60) as owner:
                id, seen = begin(owner)
            with world.one.stream("GET", f"/v1/streams/{id}") as response:
                pieces = response.iter_raw()
                assert next(pieces) == seen
                os.kill(process.pid, signal.SIGKILL)
                [last] = frames(b"".join(pieces))
        finally:
            process.kill()
    assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "stream_lost"
    lost = follow(world.one, id, 1)
    assert code(lost) == (503, "stream_lost")
    assert lost.headers["retry-after"]
    assert code(world.one.delete(f"/v1/streams/{id}")) == (503, "stream_lost")
    at_rest(world)
