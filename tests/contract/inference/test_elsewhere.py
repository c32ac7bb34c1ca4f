"""Engine replicas that die: before the first byte of an answer another one is asked, after it never."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from serving.config import Alias, Catalog, RemoteModel, Target, VllmModel
from serving.inference.generation import ELSEWHERE
from serving.telemetry import metrics
from tests.contract.running import Loop, engine, gateway
from tests.servers.process import held_port
from tests.wait import eventually

FRAMES = [
    {"id": "theirs", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    for delta, finish in (({"content": "hel"}, None), ({"content": "lo"}, None), ({}, "stop"))
]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
WHOLE = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}]}


class Replicas:
    """Replicas that do what their path is called, leased in the order of `next`; `url` is their address."""

    def __init__(self):
        self.url = ""
        self.next = []
        self.asked = []
        self.held = 0

    async def answer(self, request):
        kind = request.match_info["kind"]
        self.asked.append(kind)
        stream = (await request.json()).get("stream", False)
        if kind == "acts" and self.asked.count("acts") == 1:
            message = {"role": "assistant", "content": "Action: time\nAction Input: UTC"}
            return web.json_response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
        if kind in ("dies", "dies-too", "acts"):
            request.transport.abort()
            return web.Response()
        if kind == "says-no":
            return web.json_response({"error": {"message": "no"}}, status=500)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream" if stream else "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if kind in ("head", "head-too"):  # its answer begins, and holds nothing
            await response.write(b"")
            request.transport.abort()
            return response
        frames = [*FRAMES, {"choices": [], "usage": USAGE}]
        pieces = [b"data: " + json.dumps(f).encode() + b"\n\n" for f in frames] + [b"data: [DONE]\n\n"]
        pieces = pieces if stream else [json.dumps(WHOLE).encode()[:9], json.dumps(WHOLE).encode()[9:]]
        await response.write(pieces.pop(0))
        if kind == "half":
            request.transport.abort()
            return response
        for piece in pieces:
            await response.write(piece)
        return response

    @property
    def lease(self):
        return self

    def options(self, *, stream):
        return self

    def remote(self, owner, user):
        self.held += 1
        return _Lease(self)


class _Lease:
    def __init__(self, replicas):
        self._replicas = replicas

    async def __anext__(self):
        kind = self._replicas.next.pop(0)
        closed = kind.partition("closed")[1]
        return {"url": f"{self._replicas.closed}/{kind}" if closed else f"{self._replicas.url}/{kind}", "key": "k"}

    def cancel(self):
        self._replicas.held -= 1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    replicas = Replicas()
    app = web.Application()
    app.router.add_post("/{kind}/chat/completions", replicas.answer)

    def catalog(closed, port):
        """The replicas, and an alias whose first target is dead nearly always."""
        alive, dead = f"http://127.0.0.1:{port}/good", f"http://127.0.0.1:{closed}/v1"
        remote = (RemoteModel(name="alive", url=alive), RemoteModel(name="dead", url=dead))
        refuses = RemoteModel(name="dies", url=f"http://127.0.0.1:{port}/dies")
        targets = {"first": ("dead", "alive"), "worked": ("dies", "alive"), "none": ("dead", "dead-too")}
        remote += (refuses, RemoteModel(name="dead-too", url=dead))
        return Catalog(
            models=(VllmModel(name="m", source="hf://a/b", context=4096), *remote),
            aliases=tuple(
                Alias(name=name, targets=(Target(model=first, weight=1e6), Target(model=then, weight=1e-6)))
                for name, (first, then) in targets.items()
            ),
        )

    folder = tmp_path_factory.mktemp("gateway")
    with (
        Loop() as loop,
        held_port() as closed,
        engine(loop, app) as port,
        gateway(loop, folder, catalog(closed, port), handle_of=lambda name: replicas) as up,
    ):
        replicas.url, replicas.closed = (f"http://127.0.0.1:{each}" for each in (port, closed))  # ty: ignore[missing-attribute]
        with up.client() as client:
            yield client, replicas


def ask(world, route, stream, *replicas, **more):
    """Asks for an answer that these replicas are leased for, one after the other."""
    client, leased = world
    leased.next, leased.asked = list(replicas), []
    asked = {"input": "hi"} if route.endswith("responses") else {"messages": [{"role": "user", "content": "hi"}]}
    answer = client.post(route, json={"model": "m", "stream": stream, **asked, **more})
    eventually(lambda: leased.held == 0, "every lease is given back", 20)
    return answer


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
routes = pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/responses"])


def replaced():
    return metrics.engine_replaced.labels("m")._value.get()


@routes
@both
@pytest.mark.parametrize("gone", ["closed", "dies", "head"])
def test_another_replica_answers(world, route, stream, gone, caplog):
    before = replaced()
    answer = ask(world, route, stream, gone, "good")
    assert answer.status_code == 200
    assert world[1].asked[-1] == "good"
    assert world[1].next == []
    assert replaced() == before + 1
    assert "a replica of m is gone" in caplog.text
    if not stream:
        assert "hello" in answer.text
    elif route.endswith("responses"):
        events = [json.loads(f.partition("\ndata: ")[2]) for f in answer.text.strip().split("\n\n")]
        assert [e["sequence_number"] for e in events] == list(range(len(events)))
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hello"
    else:
        assert answer.text.endswith("data: [DONE]\n\n")
        assert answer.text.count('"hel"') == answer.text.count('"lo"') == 1


@both
def test_lost_replicas_are_not_retried(world, stream):
    assert ask(world, "/v1/chat/completions", stream, "dies", "dies", "good").status_code == 200
    assert world[1].asked == ["dies"] * 2 + ["good"]  # twice: the kept connection could have been stale


@both
def test_a_strategy_restarts_on_another_replica(world, stream):
    answer = ask(world, "/v1/chat/completions", stream, "dies", "good", strategy="cot")
    assert answer.status_code == 200
    assert "hello" in answer.text


@both
def test_failover_attempts_are_bounded(world, stream):
    lost = [f"closed-{n}" for n in range(ELSEWHERE + 1)]
    answer = ask(world, "/v1/chat/completions", stream, *lost, "good")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    assert world[1].next == ["good"]
    before = replaced()
    named = {"store": True, "metadata": {"test": f"ends-{stream}"}}
    answer = ask(world, "/v1/chat/completions", stream, *["closed"] * 4, **named)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert replaced() == before  # nobody took its place
    kept = world[0].get("/v1/chat/completions", params={"metadata[test]": f"ends-{stream}"}).json()["data"]
    assert [completion["headrace"]["outcome"] for completion in kept] == ["error"]


@both
@pytest.mark.parametrize("gone", ["dies", "head"])
def test_a_request_that_killed_two_replicas_is_not_retried(world, stream, gone):
    answer = ask(world, "/v1/chat/completions", stream, gone, f"{gone}-too", "good")
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "engine_error")
    assert world[1].next == ["good"]


@both
def test_strategies_fail_over_before_their_first_step_only(world, stream):
    said = {"strategy": "react"}
    answer = ask(world, "/v1/chat/completions", stream, "closed", "acts", **said)
    assert answer.status_code == (200 if stream else 502)  # `acts` dies when it is asked again
    assert '"engine_error"' in answer.text
    assert ask(world, "/v1/chat/completions", stream, "acts", "good", **said).text.count("engine_error") == 1
    assert world[1].next == ["good"]


@routes
@both
def test_no_failover_after_the_first_byte(world, route, stream):
    answer = ask(world, route, stream, "half", "good")
    assert world[1].next == ["good"]
    assert world[1].asked == ["half"]
    assert '"engine_error"' in answer.text
    assert "[DONE]" not in answer.text


@both
def test_engine_rejections_are_not_retried(world, stream):
    assert ask(world, "/v1/chat/completions", stream, "says-no", "good").status_code == 502
    assert world[1].asked == ["says-no"]


@routes
@both
def test_another_target_of_an_alias_answers(world, route, stream, caplog):
    answer = ask(world, route, stream, model="first", store=True)
    assert (answer.status_code, world[1].asked) == (200, ["good"])
    assert "dead of first does not answer" in caplog.text
    assert "hel" in answer.text
    assert '"dead"' not in answer.text
    if route.endswith("completions") and not stream:
        kept = world[0].get(f"/v1/chat/completions/{answer.json()['id']}").json()
        assert kept["model"] == "first"
    assert ask(world, route, stream, model="none").status_code == 502


@both
def test_a_target_that_may_have_worked_is_the_last_one(world, stream):
    answer = ask(world, "/v1/chat/completions", stream, model="worked")
    assert answer.status_code == 502
    assert set(world[1].asked) == {"dies"}
