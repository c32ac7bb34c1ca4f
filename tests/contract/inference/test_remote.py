"""The gateway before engines that misbehave: a real server, a real store, a real upstream over loopback."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from serving.config import Alias, Assistant, Catalog, Limits, RemoteModel, SecretRef, Target
from serving.telemetry import metrics
from tests.contract.running import Loop, engine, gateway
from tests.servers.process import held_port
from tests.wait import eventually

PLANTED = "planted-upstream-secret"


def frame(text="x", finish=None):
    choice = {"index": 0, "delta": {"content": text} if text else {}, "finish_reason": finish}
    return f"data: {json.dumps({'id': 'theirs', 'model': 'hidden', 'choices': [choice]})}\n\n".encode()


USAGE = b'data: {"id":"theirs","model":"hidden","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
WHOLE = {
    "id": "theirs",
    "model": "hidden",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}


class Upstream:
    """An OpenAI-compatible endpoint that does what its `model` is called."""

    def __init__(self):
        self.calls = []
        self.open = 0

    async def chat(self, request):
        body = await request.json()
        self.calls.append((body, request.headers.get("Authorization")))
        kind = body["model"]
        if kind.startswith("status-"):
            return web.json_response({"error": {"message": f"says {kind}"}}, status=int(kind[7:]))
        if kind == "flaky" and len([c for c in self.calls if c[0]["model"] == "flaky"]) < 3:
            return web.Response(status=503)
        if kind == "not-json":
            return web.Response(text="<html>", content_type="application/json")
        if not body.get("stream"):
            return web.json_response(WHOLE)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await self._stream(kind, response)
        return response

    async def _stream(self, kind, response):
        await response.write(frame("hello "))
        if kind == "endless":
            self.open += 1
            try:
                while True:
                    await asyncio.sleep(0.01)
                    await response.write(frame("more "))
            finally:
                self.open -= 1
        if kind == "cut":
            return
        if kind == "crash":
            response._req.transport.abort()
            return
        if kind == "garbage":
            await response.write(b"data: {broken\n\n")
            return
        if kind == "error":
            await response.write(b'data: {"error":{"message":"out of memory at 0xdead"}}\n\n')
            return
        if kind in ("stalls", "waits"):
            await asyncio.Event().wait()
        await response.write(frame("world") + frame("", "stop") + USAGE + b"data: [DONE]\n\n")


KINDS = ["good", "flaky", "not-json", "endless", "cut", "crash", "garbage", "error", "stalls", "waits", "down"]
KINDS += [f"status-{code}" for code in (400, 401, 404, 429, 500, 503)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "upstream").write_text(PLANTED)
    upstream = Upstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream.chat)
    with Loop() as loop, held_port() as closed, engine(loop, app) as port:
        models = tuple(
            RemoteModel(
                name=kind,
                url=f"http://127.0.0.1:{closed if kind == 'down' else port}/v1",
                api_key=SecretRef(ref=f"file:{folder / 'upstream'}"),
                max_in_flight=2,
                **({"idle_timeout_s": 3} if kind == "stalls" else {}),
            )
            for kind in KINDS
        )
        catalog = Catalog(
            models=models,
            aliases=(Alias(name="stable", targets=(Target(model="good"),)),),
            assistants=(Assistant(name="brief", model="stable", prompt="Be brief.", max_tokens=7),),
        )
        with gateway(loop, folder, catalog, limits=Limits(in_flight=4, queue=0)) as up, up.client() as client:
            yield client, upstream, up.services


def ask(client, model, **options):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **options}
    return client.post("/v1/chat/completions", json=body)


def test_a_whole_answer_and_a_stream(world):
    client, upstream, _ = world
    answer = ask(client, "good").json()
    said = {"role": "assistant", "content": "hello", "refusal": None, "annotations": []}
    assert answer["choices"] == [{"index": 0, "message": said, "finish_reason": "stop", "logprobs": None}]
    assert answer["model"] == "good"
    assert answer["id"].startswith("chatcmpl-")
    text = ask(client, "good", stream=True).text
    assert "hello " in text
    assert "world" in text
    assert "theirs" not in text
    assert "hidden" not in text
    assert text.endswith("data: [DONE]\n\n")
    assert upstream.calls[-1][1] == f"Bearer {PLANTED}"


def test_the_final_frames_are_sent_together(world):
    body = {"model": "good", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with world[0].stream("POST", "/v1/chat/completions", json=body) as response:
        *_, last = response.iter_raw()  # a piece is an HTTP chunk, which is what one send becomes
    assert b"world" in last
    assert last.endswith(b"data: [DONE]\n\n")


def test_an_assistant_adds_its_prompt_and_defaults(world):
    client, upstream, _ = world
    assert ask(client, "brief", temperature=0.5).json()["model"] == "brief"
    sent = upstream.calls[-1][0]
    assert sent["model"] == "good"
    assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (sent["max_tokens"], sent["temperature"]) == (7, 0.5)


def test_requests_are_retried_before_the_first_byte(world):
    client, upstream, _ = world
    before = len(upstream.calls)
    assert ask(client, "flaky").status_code == 200
    assert len(upstream.calls) - before == 3


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("down", 502, "engine_error"),
        ("not-json", 502, "engine_error"),
        ("status-400", 400, "invalid_value"),
        ("status-401", 502, "engine_error"),
        ("status-404", 400, "invalid_value"),
        ("status-429", 429, "overloaded"),
        ("status-500", 502, "engine_error"),
        ("status-503", 502, "engine_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_failures_before_the_answer(world, model, status, code, stream):
    if model == "not-json" and stream:
        pytest.skip("a stream is judged frame by frame")
    response = ask(world[0], model, stream=stream)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert PLANTED not in response.text


@pytest.mark.parametrize("model", ["cut", "crash", "garbage", "error", "stalls", "not-json"])
def test_a_broken_stream_never_looks_complete(world, model):
    streams = metrics.streams.labels(model, "error")
    before = streams._value.get()
    response = ask(world[0], model, stream=True)
    assert response.status_code == 200
    assert "[DONE]" not in response.text
    *_, last = [f for f in response.text.split("\n\n") if f]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_error"
    assert "0xdead" not in response.text
    eventually(lambda: streams._value.get() == before + 1, "the stream is counted as one that broke")


def test_a_disconnect_cancels_the_upstream_request_and_frees_its_slot(world):
    client, upstream, services = world
    for _ in range(6):  # more than the bound of two: each place must have come back
        body = {"model": "endless", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body) as response:
            assert response.status_code == 200
            parts = response.iter_raw()
            next(parts)
            assert upstream.open == 1
        eventually(lambda: upstream.open == 0, "the upstream is hung up on")
        eventually(lambda: services.admission._active == 0, "the place is free")


def test_the_bounds_of_a_model_and_of_the_gateway_are_429(world):
    client, upstream, services = world
    body = {"model": "endless", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with (
        client.stream("POST", "/v1/chat/completions", json=body) as a,
        client.stream("POST", "/v1/chat/completions", json=body) as b,
    ):
        assert (a.status_code, b.status_code) == (200, 200)
        third = ask(client, "endless")
        assert third.status_code == 429
        assert third.headers["retry-after"]
        with (
            client.stream("POST", "/v1/chat/completions", json=body | {"model": "waits"}),
            client.stream("POST", "/v1/chat/completions", json=body | {"model": "waits"}),
        ):
            full = ask(client, "good")
            assert full.status_code == 429
            assert full.json()["error"]["type"] == "rate_limit_error"
    eventually(lambda: upstream.open == 0, "the upstream is hung up on")
    eventually(lambda: services.admission._active == 0, "the places are free")
    assert ask(client, "good").status_code == 200
