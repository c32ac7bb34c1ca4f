"""Apps as real processes behind a gateway: what they answer, for whom they ask, and what ends them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from aiohttp import web

from serving.config import CallAccess, Catalog, Limits, Price, RemoteModel
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from tests.callers.identity import key_of
from tests.contract.apps.replicas import Replicas, model
from tests.contract.running import Loop, engine, gateway, hang_up
from tests.wait import eventually

pytestmark = pytest.mark.long
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
SLOW = Limits(lease_timeout_s=600)
"""A host that does much else starts a process in minutes."""
APPS = {
    **{name: f"agents:{name}" for name in ("echo", "pieces", "fails", "snoops", "looks", "chain", "agent")},
    "asking": "agents:asking",
    "loops": "agents:itself",
}


class Engine:
    """Says what it was asked last; holds the first request that says `hold` until its caller is gone."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.held = threading.Event()
        self.gone = threading.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        said = body["messages"][-1]["content"]
        self.asked.append(body)
        if said == "hold" and not self.held.is_set():
            self.held.set()
            try:
                await asyncio.sleep(600)
            finally:
                self.gone.set()
        if not body.get("stream"):
            message = {"role": "assistant", "content": f"You say {said}"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response({"choices": [choice], "usage": USAGE})
        response = web.StreamResponse()
        await response.prepare(request)
        deltas = [{"role": "assistant", "content": "You say "}, {"content": said}]
        frames = [{"choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
        frames += [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": USAGE}]
        for frame in frames:
            await response.write(b"data: " + json.dumps({"id": "e", **frame}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


@contextmanager
def serving(folder: Any, database: str | None = None) -> Iterator[SimpleNamespace]:
    """A gateway with all apps and one model, which has a price, and two callers of two tenants."""
    loop, scripted = Loop(), Engine()
    models = [model(name, object) for name, object in APPS.items()]
    models[0] = models[0].model_copy(update={"access": CallAccess(tenants=("default",))})
    replicas = Replicas(models)
    app = web.Application()
    app.router.add_post("/v1/chat/completions", scripted.answer)
    with engine(loop, app, cancels=True) as port:
        remote = RemoteModel(name="m", url=f"http://127.0.0.1:{port}/v1", price=Price(input=1, output=2), retries=0)
        catalog = Catalog(models=(*models, remote))
        with gateway(loop, folder, catalog, handle_of=replicas.handle_of, database=database, limits=SLOW) as up:
            people = {"ann": Principal("default", "ann", ""), "bob": Principal("default", "bob", "")}
            people["eve"] = Principal("other", "eve", "")
            clients = {
                name: httpx.Client(
                    base_url=up.url,
                    headers={"Authorization": f"Bearer {loop.do(key_of(up.services, who))}"},
                    timeout=600,
                )
                for name, who in people.items()
            }
            yield SimpleNamespace(**clients, up=up, engine=scripted, replicas=replicas)
            replicas.close()
    loop.stop()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    with serving(tmp_path_factory.mktemp("apps")) as made:
        yield made


def chat(client: httpx.Client, app: str, text: str, **fields: Any) -> httpx.Response:
    body = {"model": app, "messages": [{"role": "user", "content": text}], **fields}
    return client.post("/v1/chat/completions", json=body)


def said(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]


def test_functions_and_runnables_answer(world):
    assert said(chat(world.ann, "echo", "hello"))["content"] == "heard 1: hello"
    assert said(chat(world.ann, "chain", "hello"))["content"] == "<HELLO>"
    listed = {each["id"] for each in world.ann.get("/v1/models").json()["data"]}
    assert set(APPS) <= listed


def test_a_graph_streams_its_steps_and_tokens_and_is_charged_once(world):
    before = used(world)
    body = {"model": "agent", "messages": [{"role": "user", "content": "hello"}], "stream": True}
    with world.ann.stream("POST", "/v1/chat/completions", json=body) as response:
        lines = [line[6:] for line in response.iter_lines() if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    assert [d["reasoning_content"] for d in deltas if "reasoning_content" in d] == ["node plan: plan: look it up\n"]
    assert [d["content"] for d in deltas if d.get("content")] == ["You say ", "hello"]
    beside = deltas[-1]["headrace"]
    assert beside["app"] == {"name": "agent", "calls": 1}
    assert beside["cost"] == {"amount": "0.000013", "currency": "USD"}
    assert [(s["kind"], s["name"]) for s in beside["steps"]] == [("node", "plan"), ("node", "answer")]
    after = used(world)
    assert after["tokens"] - before["tokens"] == USAGE["total_tokens"]
    assert after["requests"] - before["requests"] == 1


def used(world):
    """What Ann has used."""
    rows = world.ann.get("/v1/usage").json()["data"]
    tokens = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows)
    return {"tokens": tokens, "requests": sum(row["requests"] for row in rows)}


def test_usage_is_reported_by_responses_and_unstreamed_answers(world):
    answer = chat(world.ann, "agent", "hi").json()
    assert (answer["choices"][0]["message"]["content"], answer["usage"]["total_tokens"]) == ("You say hi", 10)
    response = world.ann.post("/v1/responses", json={"model": "pieces", "input": "count"}).json()
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]
    assert response["output"][1]["content"][0]["text"] == "one two three"
    rating = {"target": {"type": "response", "id": answer["id"]}, "thumb": "up"}
    assert world.ann.post("/v1/feedback", json=rating).status_code == 200


def test_an_app_says_why_it_cannot_answer(world):
    for app, text, fields, status, code in (
        ("fails", "x", {}, 502, "engine_error"),
        ("loops", "x", {}, 400, "app_loop"),
        ("echo", "x", {"n": 2}, 400, "invalid_value"),
        ("echo", "x", {"strategy": "cot"}, 400, "invalid_value"),
        ("echo", "x", {"response_format": {"type": "json_object"}}, 400, "invalid_value"),
    ):
        answer = chat(world.ann, app, text, **fields)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
        assert "a secret" not in answer.text
    assert "loops calls itself: loops > loops" in chat(world.ann, "loops", "x").json()["error"]["message"]
    assert world.ann.post("/v1/completions", json={"model": "echo", "prompt": "x"}).status_code == 400


def test_an_access_list_holds_for_apps(world):
    assert chat(world.eve, "echo", "x").status_code == 404
    assert "echo" not in {each["id"] for each in world.eve.get("/v1/models").json()["data"]}


def test_an_app_has_the_rights_of_its_caller_and_no_files_of_the_platform(world, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the platform")
    seen = said(chat(world.ann, "snoops", f"{secret} /proc/self/status"))["content"]
    assert seen == "PermissionError /proc/self/status"
    mine = world.bob.post("/v1/conversations", json={}).json()["id"]
    path = f"/v1/conversations/{mine}"
    assert mine in said(chat(world.bob, "looks", path))["content"]
    for client in (world.ann, world.eve):
        assert said(chat(client, "looks", path))["content"] == "404 not_found"
    assert said(chat(world.ann, "looks", "/v1/admin/users"))["content"] == "403 insufficient_scope"


def test_a_hang_up_ends_the_run(world):
    body = {"model": "agent", "messages": [{"role": "user", "content": "hold"}]}
    world.engine.held.clear()
    world.engine.gone.clear()
    hang_up(world.ann, body, lambda: world.engine.held.is_set())
    assert world.engine.gone.wait(600), "the request of the app's is cancelled with it"
    eventually(lambda: not world.replicas.leased, "the replica is free")
    eventually(lambda: not rows(world), "its checkpoints are gone")


def test_an_interrupted_graph_resumes_on_another_replica(world):
    before = rows(world)
    conversation = world.ann.post("/v1/conversations", json={}).json()["id"]
    first = said(chat(world.ann, "asking", "start", conversation=conversation))
    assert first["content"] == "May I go on?"
    assert first["headrace"]["interrupt"] == {"values": ["May I go on?"], "conversation": conversation}
    world.replicas.kill("asking")
    second = said(chat(world.ann, "asking", "yes", conversation=conversation))
    assert second["content"] == "You said yes."
    assert [step["name"] for step in second["headrace"]["steps"]] == ["asks"]
    assert rows(world) > before
    world.ann.delete(f"/v1/conversations/{conversation}")
    assert rows(world) == before


def rows(world):
    """Checkpoints and writes that are kept."""

    def count(connection):
        tables = ("checkpoints", "checkpoint_writes")
        return sum(connection.exec_driver_sql(f"SELECT count(*) FROM {t}").scalar_one() for t in tables)

    return world.up.loop.do(uninterrupted(world.up.services.database.query)(count))


def test_a_killed_run_resumes_from_its_checkpoint(world):
    before = rows(world)
    world.engine.held.clear()
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(chat(world.ann, "agent", "hold")))
    asking.start()
    assert world.engine.held.wait(600)
    world.replicas.kill("agent")
    asking.join(600)
    message = said(answers[0])
    assert message["content"] == "You say hold"
    assert [step["name"] for step in message["headrace"]["steps"]] == ["plan", "answer"], "no node is run again"
    assert rows(world) == before, "a run without a conversation leaves nothing behind"
