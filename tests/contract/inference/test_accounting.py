"""What a request leaves behind: counters whose difference is what is in flight, and one line of the log."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import threading

import pytest
from aiohttp import web
from prometheus_client import REGISTRY
from ray.serve.exceptions import RayServeException

from serving.config import JUDGE, Assistant, Catalog, ClassifierGuardrail, Objectives, RemoteModel
from serving.telemetry.catalogue import JUDGED, NO_MODEL, UNASKED
from tests.contract.running import Loop, engine, gateway, request_lines
from tests.wait import eventually

SECRET = "what nobody else may read"
CHAT = "/v1/chat/completions"
SLOW_S = 0.2
"""When the model that never answers is given up."""
NEVER = Objectives(first_token_s=1e-9, between_tokens_s=60, end_to_end_s=1e-9)
"""Times that no answer meets, but for its pace: tokens that arrive together have no time between them."""
ALWAYS = Objectives(first_token_s=3600, between_tokens_s=60, end_to_end_s=3600)


class Away:
    """A handle of retrieval whose replicas are gone."""

    def __init__(self):
        self.call = self

    async def remote(self, method, *args):
        raise RayServeException(f"nobody does {method}")


class World:
    """An engine that answers when it may, and a gateway before it."""

    def __init__(self, loop):
        self.asked, self.may, self.never, self.loop = threading.Event(), asyncio.Event(), asyncio.Event(), loop

    async def answer(self, request):
        self.asked.set()
        asked = await request.json()
        if asked.get("stream"):
            response = web.StreamResponse()
            await response.prepare(request)
            if asked["messages"][-1]["content"] == "count":
                for word, reason in (("one ", None), ("two ", None), ("three", "stop")):
                    choice = {"index": 0, "delta": {"content": word}, "finish_reason": reason}
                    await response.write(f"data: {json.dumps({'id': '1', 'choices': [choice]})}\n\n".encode())
                await response.write(b"data: [DONE]\n\n")
                return response
            choice = {"index": 0, "delta": {"content": SECRET}, "finish_reason": None}
            await response.write(f"data: {json.dumps({'id': '1', 'created': 1, 'choices': [choice]})}\n\n".encode())
            if asked["messages"][-1]["content"] == "break off":
                request.transport.abort()
            await self.never.wait()
        if "wait" in asked["messages"][-1]["content"] or asked["model"] == "slow":
            await self.may.wait()
        message = {"role": "assistant", "content": SECRET}
        usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "more": SECRET}
        if asked["messages"][-1]["content"] == "boast":
            usage = {"prompt_tokens": 2**63, "completion_tokens": -1}
        return web.json_response(
            {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage}
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    loop = Loop()
    world = World(loop)
    app = web.Application()
    app.router.add_post(CHAT, world.answer)
    with engine(loop, app, cancels=True) as port:
        catalog = Catalog(
            models=(
                RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1"),
                RemoteModel(name="away", url="http://127.0.0.1:9/v1", retries=0),
                RemoteModel(name="slow", url=f"http://127.0.0.1:{port}/v1", first_byte_timeout_s=SLOW_S, retries=0),
                RemoteModel(name="hasty", url=f"http://127.0.0.1:{port}/v1", objectives=NEVER),
                RemoteModel(name="patient", url=f"http://127.0.0.1:{port}/v1", objectives=ALWAYS),
                RemoteModel(name="narrow", url=f"http://127.0.0.1:{port}/v1", max_in_flight=1),
            ),
            assistants=(
                Assistant(name="clerk", model="m"),
                Assistant(name="rusher", model="hasty"),
                Assistant(name="reader", model="m", knowledge=("books",)),
                Assistant(name="guarded", model="m", guardrails=(ClassifierGuardrail(model="away"),)),
                Assistant(name="checked", model="m", guardrails=(ClassifierGuardrail(model="slow", on=("output",)),)),
            ),
        )
        with gateway(loop, tmp_path_factory.mktemp("accounting"), catalog, retrieval=Away()) as up, up.client() as http:
            world.http, world.up = http, up  # ty: ignore[missing-attribute]
            yield world
    loop.stop()


def ask(world, content=SECRET, model="m", stream=False, **more):
    body = {"model": model, "messages": [{"role": "user", "content": content}], "stream": stream}
    return world.http.post(CHAT, json=body, **more)


def value(name, **labels):
    return REGISTRY.get_sample_value(f"headrace_{name}", labels) or 0


def in_flight(route):
    """Requests that began and did not end."""
    ended = sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "headrace_request_duration_seconds_count" and sample.labels["route"] == route
    )
    return value("requests_started_total", route=route) - ended


def test_started_requests_are_in_flight_until_they_end(world):
    before = {route: in_flight(route) for route in (CHAT, "/v1/models", "unknown")}
    world.asked.clear()
    waiting = threading.Thread(target=ask, args=(world, "wait"))
    waiting.start()
    assert world.asked.wait(60)
    assert in_flight(CHAT) == before[CHAT] + 1
    assert ask(world).is_success
    assert ask(world, model="none").status_code == 404
    assert world.http.get("/v1/models").is_success
    assert world.http.get("/nowhere").status_code == 404
    assert world.http.delete("/v1/models").status_code == 405
    eventually(lambda: in_flight(CHAT) == before[CHAT] + 1, "the end of the others")
    world.loop.loop.call_soon_threadsafe(world.may.set)
    waiting.join()
    eventually(lambda: all(in_flight(route) == n for route, n in before.items()), "the end of all")


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [({}, "ok"), ({"model": "clerk"}, "ok"), ({"model": "none"}, "refused"), ({"model": "away"}, "error")],
)
def test_tenants_and_assistants_have_their_outcomes(world, asked, outcome):
    def counted():
        assistant = value("assistant_requests_total", assistant="clerk", outcome=outcome)
        return value("tenant_requests_total", tenant="default", outcome=outcome), assistant

    tenant, assistant = counted()
    ask(world, **asked)
    wanted = (tenant + 1, assistant + (asked.get("model") == "clerk"))
    eventually(lambda: counted() == wanted, "both counters")


def test_metrics_have_the_model_that_served(world):
    """An assistant's tokens are its model's, so that the gateway's series have the names of the engines' series."""

    def counted(model):
        return {
            "requests": value("request_duration_seconds_count", route=CHAT, model=model, outcome="ok"),
            "read": value("prompt_tokens_total", model=model, tenant="default"),
            "written": value("completion_tokens_total", model=model, tenant="default"),
            "answers": value("answers_total", model=model, ending="completed"),
        }

    before, assistant = counted("m"), counted("clerk")  # of other tests, which call a model so
    assert ask(world, model="clerk").is_success
    more = {"requests": 1, "read": 3, "written": 2, "answers": 1}
    wanted = {name: before[name] + more[name] for name in before}
    eventually(lambda: counted("m") == wanted, "the counters")
    assert counted("clerk") == assistant


def judged():
    """Short answers by model, objective, and whether they met it."""
    return {
        (model, objective, met): value(
            "judged_answers_total", model=model, objective=objective, length="short", met=met
        )
        for model in ("m", "hasty", "patient", "away", NO_MODEL, UNASKED)
        for objective in JUDGED
        for met in ("yes", "no")
    }


@pytest.mark.parametrize(
    ("asked", "model", "met"), [("patient", "patient", "yes"), *((m, "hasty", "no") for m in ("hasty", "rusher"))]
)
@pytest.mark.parametrize("stream", [False, True])
def test_each_answer_is_judged_by_the_objectives_of_its_own_model(world, asked, model, met, stream):
    before = judged()
    assert ask(world, "count", model=asked, stream=stream).is_success
    objectives = JUDGED if stream else ("end_to_end",)
    more = [(model, each, "yes" if each == "inter_token_latency" else met) for each in objectives]
    wanted = before | {each: before[each] + 1 for each in more}
    eventually(lambda: judged() == wanted, "the counters")


def test_what_no_model_answered_is_judged_by_no_objective(world):
    before = judged()
    assert ask(world, model="away").is_error
    assert ask(world, model="none").is_error
    assert ask(world, "Hello!", model="reader").is_success
    assert world.http.get(CHAT).is_success
    assert ask(world, model="patient").is_success
    more = ("patient", "end_to_end", "yes")
    eventually(lambda: judged() == before | {more: before[more] + 1}, "the counters")


@pytest.mark.parametrize(("asked", "outcome"), [({"model": "none"}, "refused"), ({"model": "away"}, "error")])
def test_errors_are_the_callers_or_the_stacks(world, asked, outcome):
    code = {"refused": "model_not_found", "error": "engine_error"}[outcome]
    before = value("errors_total", route=CHAT, code=code, outcome=outcome)
    assert ask(world, **asked).is_error
    eventually(lambda: value("errors_total", route=CHAT, code=code, outcome=outcome) == before + 1, "the counter")


def of(caplog, name, value):
    """The lines with this field: those of the test before may still be written."""
    return [line for line in request_lines(caplog) if line.fields[name] == value]


def test_a_stranger_is_of_no_tenant(world, caplog):
    with caplog.at_level(logging.INFO, "headrace.requests"):
        headers = {"Authorization": "Bearer nonsense"}
        assert world.http.get("/v1/models", headers=headers).status_code == 401
        [record] = eventually(lambda: of(caplog, "route", "/v1/models"), "the line")
    line = record.fields
    assert (line["tenant"], line["code"], line["outcome"]) == (None, "invalid_api_key", "refused")


def test_a_request_is_logged_once_without_content(world, caplog):
    before = value("overhead_seconds_sum", route=CHAT)
    with caplog.at_level(logging.INFO, "headrace.requests"):
        answer = ask(world, model="clerk", headers={"x-request-id": "req-7"})
        assert answer.is_success
        [record] = eventually(lambda: of(caplog, "request_id", "req-7"), "the line")
    line = record.fields
    expected = {
        "request_id": "req-7",
        "method": "POST",
        "route": CHAT,
        "status": 200,
        "outcome": "ok",
        "code": None,
        "tenant": "default",
        "model": "clerk",
        "assistant": "clerk",
        "key": world.http.get("/v1/me").json()["key_id"],
        "served": "m",
        "engine_replica": None,
        "retries": 0,
        "answer_id": answer.json()["id"],
        "stream": False,
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "completion_tokens": 2,
        "cost": None,
        "trace_id": None,
    }
    assert {name: line[name] for name in expected} == expected
    assert line["seconds"] == pytest.approx(sum(line["stages"].values()), abs=1e-4)
    assert 0 < line["overhead_seconds"] < line["seconds"]
    assert value("overhead_seconds_sum", route=CHAT) - before >= line["overhead_seconds"] - 1e-5
    assert {"receive", "guard", "admit", "decode"} <= line["stages"].keys()
    assert "first_token" not in line["stages"]  # an engine sends a whole answer after its last token
    assert SECRET not in repr(vars(record))


def hang_up(world, **more):
    """Asks, and hangs up once the engine was asked and a stream's first piece is here."""
    world.asked.clear()
    body = {"model": "narrow", "messages": [{"role": "user", "content": "wait on"}], **more}
    asked = http.client.HTTPConnection("127.0.0.1", world.http.base_url.port, timeout=60)
    headers = {**dict(world.http.headers), "content-type": "application/json"}
    with contextlib.closing(asked):
        asked.request("POST", CHAT, json.dumps(body), headers)
        assert world.asked.wait(60)
        if more.get("stream"):
            assert SECRET.encode() in asked.getresponse().read1()
        elif "strategy" not in more:
            assert ask(world, model="narrow").status_code == 429


@pytest.mark.parametrize(
    ("request_", "outcome", "stages"),
    [
        (lambda w: hang_up(w, stream=True), "cancelled", {"first_token", "decode"}),
        (hang_up, "cancelled", {"decode"}),
        (lambda w: hang_up(w, strategy="cot"), "cancelled", {"reason"}),
        (lambda w: ask(w, "break off", stream=True), "error", {"first_token", "decode"}),
        (lambda w: ask(w, model="away"), "error", {"decode"}),
        (lambda w: ask(w, model="slow"), "error", {"decode"}),
    ],
    ids=["stream", "whole", "strategy", "broken off", "away", "slow"],
)
def test_waiting_before_a_failure_is_not_overhead(world, caplog, request_, outcome, stages):
    world.loop.loop.call_soon_threadsafe(world.may.clear)
    with caplog.at_level(logging.INFO, "headrace.requests"):
        request_(world)
        eventually(lambda: of(caplog, "outcome", outcome), "the line")
    [line] = [line.fields for line in of(caplog, "outcome", outcome)]
    waited = {"queue", "memory", "reason", "first_token", "decode", "cite"}
    assert waited & line["stages"].keys() == {"queue", *stages}
    assert all("queue" in line.fields["stages"] for line in of(caplog, "code", "overloaded"))


@pytest.mark.parametrize(
    ("path", "body", "stages"),
    [
        (CHAT, {"model": "guarded"}, {"receive", "guard"}),
        ("/v1/responses", {"model": "guarded", "input": SECRET}, {"receive", "guard"}),
        (CHAT, {"model": "reader"}, {"receive", "guard", "retrieve"}),
        ("/v1/embeddings", {"model": JUDGE, "input": SECRET}, {"receive", "retrieve"}),
        (CHAT, {"messages": "none"}, {"receive"}),
    ],
    ids=["guard", "guard of a response", "retrieval", "embedding", "body"],
)
def test_failures_of_dependencies_are_not_overhead(world, caplog, path, body, stages):
    if path == CHAT:
        body = {"messages": [{"role": "user", "content": SECRET}], **body}
    with caplog.at_level(logging.INFO, "headrace.requests"):
        assert world.http.post(path, json=body).is_error
        found = stages_of(caplog, path)
    assert stages <= found.keys()


def test_the_check_of_an_answer_is_no_overhead(world, caplog):
    world.loop.loop.call_soon_threadsafe(world.may.clear)
    with caplog.at_level(logging.INFO, "headrace.requests"):
        assert ask(world, model="checked").json()["choices"][0]["finish_reason"] == "content_filter"
        assert stages_of(caplog, CHAT)["guard"] >= SLOW_S


def stages_of(caplog, route):
    def found():
        lines = [r.fields for r in caplog.records if r.name == "headrace.requests"]
        return [line["stages"] for line in lines if line["route"] == route]

    eventually(found, "the line")
    return found()[0]


def test_following_a_stream_is_no_overhead(world, caplog):
    body = {"model": "m", "messages": [{"role": "user", "content": SECRET}], "stream": True}
    with caplog.at_level(logging.INFO, "headrace.requests"):
        with world.http.stream("POST", CHAT, json=body, headers={"headrace-resumable": "true"}) as response:
            path = f"/v1/streams/{response.headers['headrace-stream']}"
        with world.http.stream("GET", path) as response:
            assert SECRET.encode() in next(response.iter_raw())
        stages = stages_of(caplog, "/v1/streams/{stream_id}")
        assert world.http.delete(path).is_success
    assert "decode" in stages


def test_sending_a_file_is_no_overhead(world, caplog):
    sent = world.http.post("/v1/files", files={"file": ("a.txt", SECRET)}, data={"purpose": "user_data"})
    with caplog.at_level(logging.INFO, "headrace.requests"):
        assert world.http.get(f"/v1/files/{sent.json()['id']}/content").text == SECRET
        stages = stages_of(caplog, "/v1/files/{file_id}/content")
    assert {"respond", "send"} <= stages.keys()


def test_tokens_that_cannot_be_true_are_not_in_the_line(world, caplog):
    with caplog.at_level(logging.INFO, "headrace.requests"):
        ask(world, "boast")
        [record] = eventually(lambda: of(caplog, "route", CHAT), "the line")
    line = record.fields
    assert (line["prompt_tokens"], line["completion_tokens"]) == (None, None)


def test_ratings_are_counted(world):
    id = ask(world).json()["id"]
    before = value("feedback_total", kind="response", rating="up")
    times = {o: value("feedback_duration_seconds_count", outcome=o) for o in ("ok", "refused")}
    rating = {"target": {"type": "response", "id": id}, "thumb": "up"}
    assert world.http.post("/v1/feedback", json=rating).is_success
    rating["target"] = {"type": "response", "id": "none"}
    assert world.http.post("/v1/feedback", json=rating).status_code == 404
    assert value("feedback_total", kind="response", rating="up") == before + 1
    for outcome, count in times.items():
        assert value("feedback_duration_seconds_count", outcome=outcome) == count + 1
