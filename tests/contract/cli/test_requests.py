"""One request, one place: what `headrace requests show` tells is what the caller, the capture and the log have."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from click.testing import CliRunner
from sqlalchemy import select

from serving.cli.__main__ import headrace
from serving.config import Alias, Assistant, Catalog, Price, Target, VllmModel
from serving.core.principal import Principal
from serving.core.uninterrupted import uninterrupted
from serving.store.audit import AuditRows
from serving.store.errors import StoreUnavailable
from serving.store.history.answered_requests import MOST
from serving.store.relational.tables import captures
from serving.telemetry.logs import JsonFormatter
from tests.callers.identity import key_of
from tests.contract.running import Gateway, Loop, engine, gateway, request_lines
from tests.store.captures import capture
from tests.wait import eventually

ANN = Principal("acme", "ann", "")
REQUESTS = "/v1/admin/requests"
DAY_S = 86400
SAID = "by water"
ASKED = "how do locks work"
USAGE = {"prompt_tokens": 412, "completion_tokens": 88, "total_tokens": 500}
COST = {"amount": "0.0001146", "currency": "EUR"}
"""(412 * 0.15 + 88 * 0.6) / 1,000,000."""
CLOSED = "http://127.0.0.1:9/v1"


class Replicas:
    """The replicas of a model: the leases of `gone` lead nowhere, all others to `url`."""

    def __init__(self) -> None:
        self.url, self.gone = "", 0
        self.lease = self

    def options(self, *, stream: bool) -> Replicas:
        return self

    def remote(self, owner: str, user: str) -> Replicas:
        return self

    async def __anext__(self) -> dict[str, Any]:
        if self.gone:
            self.gone -= 1
            return {"url": CLOSED, "key": "k", "replica": "r1"}
        return {"url": self.url, "key": "k", "replica": "r2"}

    def cancel(self) -> None:
        pass


async def answer(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    if not asked.get("stream"):
        message = {"role": "assistant", "content": SAID}
        return web.json_response(
            {"choices": [{"index": 0, "message": message, "finish_reason": "length"}], "usage": USAGE}
        )
    response = web.StreamResponse()
    await response.prepare(request)
    pieces: list[dict[str, Any]] = [
        {"choices": [{"index": 0, "delta": {"content": SAID}, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": USAGE},
    ]
    for piece in pieces:
        await response.write(f"data: {json.dumps({'id': '1', 'created': 1, **piece})}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


class World:
    def __init__(self, up: Gateway, replicas: Replicas, folder: Path) -> None:
        self.up, self.replicas, self.folder = up, replicas, folder
        self.ann = self.client("acme", "ann")
        self.ops = self.client("acme", "olga", role="operator")

    def client(self, tenant: str, user: str, **settings: Any) -> httpx.Client:
        key = self.up.loop.do(key_of(self.up.services, Principal(tenant, user, ""), **settings))
        return httpx.Client(base_url=self.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def captured(self, id: str) -> dict[str, Any]:
        @uninterrupted
        async def read() -> Any:
            async with self.up.services.database.read() as connection:
                return (await connection.execute(select(captures).where(captures.c.id == id))).mappings().one()

        return dict(self.up.loop.do(read()))

    def run(self, *arguments: str, status: int = 0) -> str:
        """Runs a command as the operator; returns what it prints."""
        environment = {"HEADRACE_URL": self.up.url, "HEADRACE_API_KEY": self.ops.headers["authorization"][7:]}
        result = CliRunner(env=environment).invoke(headrace, list(arguments))
        assert result.exit_code == status, result.output
        return result.stdout if status == 0 else result.stderr


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    replicas = Replicas()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    price = Price(input=Decimal("0.15"), output=Decimal("0.6"), currency="EUR")
    catalog = Catalog(
        models=(VllmModel(name="m", source="hf://a/b", context=4096, price=price),),
        aliases=(Alias(name="small", targets=(Target(model="m"),)),),
        assistants=(Assistant(name="clerk", model="small"),),
    )
    folder = tmp_path_factory.mktemp("requests")
    with (
        Loop() as loop,
        engine(loop, app) as port,
        gateway(loop, folder, catalog, handle_of=lambda name: replicas) as up,
    ):
        replicas.url = f"http://127.0.0.1:{port}/v1"
        yield World(up, replicas, folder)


def chat(**more: Any) -> Callable[[httpx.Client, dict[str, str]], tuple[str, Any]]:
    def ask(http: httpx.Client, headers: dict[str, str]) -> tuple[str, Any]:
        body = {"messages": [{"role": "user", "content": ASKED}], **more}
        told = http.post("/v1/chat/completions", json=body, headers=headers)
        assert told.status_code == 200, told.text
        if not more.get("stream"):
            return told.json()["id"], told.json()["usage"]
        frames = [json.loads(part[6:]) for part in told.text.split("\n\n") if part.startswith("data: {")]
        return frames[0]["id"], next(frame["usage"] for frame in frames if frame.get("usage"))

    return ask


def response(**more: Any) -> Callable[[httpx.Client, dict[str, str]], tuple[str, Any]]:
    def ask(http: httpx.Client, headers: dict[str, str]) -> tuple[str, Any]:
        told = http.post("/v1/responses", json={"input": ASKED, **more}, headers=headers)
        assert told.status_code == 200, told.text
        used = told.json()["usage"]
        return told.json()["id"], {
            "prompt_tokens": used["input_tokens"],
            "completion_tokens": used["output_tokens"],
            "total_tokens": used["total_tokens"],
        }

    return ask


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "whole": (chat(model="clerk", store=True), {"requested": "clerk", "assistant": "clerk", "consent": True}),
    "stream": (
        chat(model="small", stream=True, stream_options={"include_usage": True}),
        {"requested": "small", "stream": True},
    ),
    "response": (response(model="m"), {"requested": "m", "alias": "m", "route": "/v1/responses"}),
    "private": (chat(model="small", store=False), {"requested": "small", "private": True}),
    "strategy": (chat(model="small", strategy="cot"), {"requested": "small", "steps": 1}),
}


@pytest.mark.parametrize("gone", [0, 1], ids=["first replica", "second replica"])
@pytest.mark.parametrize("kind", CASES)
def test_every_figure_is_that_of_the_answer_the_capture_and_the_log(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path, kind: str, gone: int
) -> None:
    ask, true = CASES[kind]
    world.replicas.gone = gone
    name = f"req-{kind}-{gone}"
    with caplog.at_level(logging.INFO, "headrace.requests"):
        id, usage = ask(world.ann, {"x-request-id": name})
        [record] = eventually(lambda: [r for r in request_lines(caplog) if r.fields["request_id"] == name], "the line")
    log = tmp_path / "gateway.log"
    lines = [JsonFormatter({"replica": "g1"}).line(each) for each in request_lines(caplog)]
    log.write_bytes(b"no JSON\n" + b"\n".join(lines) + b"\n")

    by_answer, by_request = (json.loads(world.run("requests", "show", each, "--json")) for each in (id, name))
    assert (by_answer["id"], by_request["id"]) == (id, name)
    assert by_answer["answers"] == by_request["answers"]
    [told] = by_answer["answers"]
    assert usage == USAGE or kind == "strategy"
    assert (told["prompt_tokens"], told["completion_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    row = world.captured(id)
    same = ["request_id", "requested", "assistant", "prompt_version", "alias", "model", "adapter", "outcome"]
    same += ["error_code", "prompt_tokens", "completion_tokens", "stored", "consent"]
    assert {field: told[field] for field in same} == {field: row[field] for field in same}
    assert told["stages"] == row["timings"]
    assert told["seconds"] == pytest.approx(sum(row["timings"].values()))
    assert told["created_at"] == int(row["created_at"])
    private = true.get("private", False)
    cost = Decimal(usage["prompt_tokens"]) * Decimal("0.15") + Decimal(usage["completion_tokens"]) * Decimal("0.6")
    assert Decimal(told["cost"]["amount"]) == cost / 1_000_000
    assert told["cost"] == COST or kind == "strategy"
    assert {field: told[field] for field in ("id", "request_id", "requested", "assistant", "alias", "model")} == {
        "id": id,
        "request_id": name,
        "requested": true["requested"],
        "assistant": true.get("assistant"),
        "alias": true.get("alias", "small"),
        "model": "m",
    }
    assert {field: told[field] for field in ("engine", "stream", "finish_reason", "steps", "passages", "consent")} == {
        "engine": "vllm",
        "stream": None if private else true.get("stream", False),
        "finish_reason": None if private else row["answer"][0]["finish_reason"],
        "steps": true.get("steps", 0),
        "passages": 0,
        "consent": true.get("consent", False),
    }

    line = record.fields
    caller = world.ann.get("/v1/me").json()
    wanted = {
        "request_id": name,
        "answer_id": id,
        "route": true.get("route", "/v1/chat/completions"),
        "status": 200,
        "tenant": "acme",
        "key": caller["key_id"],
        "model": true["requested"],
        "assistant": true.get("assistant"),
        "served": "m",
        "engine_replica": "r2",
        "retries": gone,
        "stream": true.get("stream", False),
        "finish_reason": "length" if private else told["finish_reason"],
        "cost": told["cost"],
        "prompt_tokens": told["prompt_tokens"],
        "completion_tokens": told["completion_tokens"],
    }
    assert {field: line[field] for field in wanted} == wanted
    assert "queue" in line["stages"]

    both = json.loads(world.run("requests", "show", id, "--json", "--log", str(log)))
    assert both["answers"] == by_answer["answers"]
    assert [each["request_id"] for each in both["log"]] == [name]
    sheet = world.run("requests", "show", name, "--log", str(log), "--trace-url", "https://traces/{trace_id}")
    facts = dict(part.split("  ", 1) for part in sheet.partition("\n\n")[0].splitlines())
    shown = {field.strip(): value.strip() for field, value in facts.items()}
    assert shown["answer"] == id
    assert shown["request"] == name
    assert shown["asked"] == f"POST {wanted['route']} -> 200"
    assert shown["caller"] == f"tenant acme, key {caller['key_id']}"
    assert shown["served by"] == "engine replica r2, gateway replica g1"
    assert shown["retries"] == str(gone)
    assert shown["tokens"] == f"{usage['prompt_tokens']} read, {usage['completion_tokens']} written"
    assert shown["cost"] == f"{told['cost']['amount']} {told['cost']['currency']}"
    assert shown["route"].startswith(true["requested"])
    assert shown["route"].endswith("model m (vllm)")
    stages = [part.split() for part in sheet.partition("\n\n")[2].splitlines()[1:]]
    assert {stage: float(seconds) for stage, seconds, *_ in stages} == pytest.approx(line["stages"], abs=1e-6)
    for text in (SAID, ASKED, "ann"):
        assert text not in sheet + json.dumps(by_answer)


def test_the_log_alone_tells_of_a_refused_request(
    world: World, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.INFO, "headrace.requests"):
        headers = {"x-request-id": "req-refused"}
        assert world.ann.post("/v1/chat/completions", json={"model": "none", "messages": []}, headers=headers).is_error
        eventually(lambda: [r for r in request_lines(caplog) if r.fields["request_id"] == "req-refused"], "the line")
    log = tmp_path / "gateway.log"
    log.write_bytes(b"\n".join(JsonFormatter({}).line(each) for each in request_lines(caplog)))
    assert "There is no such request. (404)" in world.run("requests", "show", "req-refused", status=1)
    sheet = world.run("requests", "show", "req-refused", "--log", str(log))
    assert "request refused" in sheet
    assert "-> 4" in sheet
    assert "There is no such request. (404)" in world.run("requests", "show", "req-none", "--log", str(log), status=1)
    assert "must contain {trace_id}" in world.run("requests", "show", "x", "--trace-url", "https://t", status=2)


def test_the_log_shows_no_other_callers_request_with_the_same_id(world: World, tmp_path: Path) -> None:
    keep(world, "chatcmpl-mine", request_id="health")
    log = tmp_path / "gateway.log"
    told = [("chatcmpl-mine", "acme"), ("chatcmpl-theirs", "evil"), (None, "evil")]
    lines = [{"message": "request", "request_id": "health", "answer_id": id, "tenant": name} for id, name in told]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    shown = json.loads(world.run("requests", "show", "chatcmpl-mine", "--json", "--log", str(log)))
    assert shown["log"] == lines[:1]
    assert json.loads(world.run("requests", "show", "health", "--json", "--log", str(log)))["log"] == lines
    only = world.run("requests", "show", "health", "--json", "--log", str(log), "--tenant", "acme")
    assert json.loads(only)["log"] == lines[:1]
    wrong = world.run("requests", "show", "health", "--log", str(log), "--tenant", "evil", status=1)
    assert "(404, tenant)" in wrong


def test_more_answers_of_one_request_than_are_shown_are_told(world: World) -> None:
    for number in range(MOST + 1):
        keep(world, f"chatcmpl-many{number}", request_id="req-many", created_at=3 * DAY_S + float(number))
    found = ok(world.ops.get(f"{REQUESTS}/req-many", params={"start": 3 * DAY_S}))
    assert (len(found["answers"]), found["has_more"]) == (MOST, True)
    assert not ok(world.ops.get(f"{REQUESTS}/chatcmpl-many0"))["has_more"]


@pytest.mark.parametrize("reason", ["once upon a time", 7, {"a": 1}, None])
def test_what_an_engine_calls_a_reason_is_no_way_for_texts(world: World, reason: object) -> None:
    answer = {"index": 0, "message": {"role": "assistant", "content": SAID}, "finish_reason": reason}
    id = keep(world, f"chatcmpl-reason{type(reason).__name__}", answer=[answer])
    assert ok(world.ops.get(f"{REQUESTS}/{id}"))["answers"][0]["finish_reason"] is None


def ok(answered: httpx.Response) -> Any:
    assert answered.status_code == 200, answered.text
    return answered.json()


def code(answered: httpx.Response) -> tuple[int, str]:
    return answered.status_code, answered.json()["error"]["code"]


def keep(world: World, id: str, **changes: Any) -> str:
    kept = capture(Principal(changes.pop("tenant", "acme"), changes.pop("user", "ann"), ""), id=id, **changes)
    world.up.loop.do(world.up.services.captures.record(ANN, kept))
    return id


def test_ids_of_requests_are_searched_in_all_time_or_within_bounds(world: World) -> None:
    keep(world, "chatcmpl-old", request_id="req-old", created_at=10 * DAY_S + 5.0)
    assert ok(world.ops.get(f"{REQUESTS}/chatcmpl-old"))["answers"][0]["request_id"] == "req-old"
    for query, found in (
        ({}, True),
        ({"start": 10 * DAY_S}, True),
        ({"end": 11 * DAY_S}, True),
        ({"start": 10 * DAY_S + 6}, False),
        ({"end": 10 * DAY_S + 5}, False),
        ({"start": 9 * DAY_S, "end": 99 * DAY_S}, True),
    ):
        assert world.ops.get(f"{REQUESTS}/req-old", params=query).is_success == found, query
    for wrong in ({"start": 2, "end": 1}, {"start": -1}, {"end": "x"}):
        refused = world.ops.get(f"{REQUESTS}/req-old", params=wrong)
        assert refused.status_code == 400, wrong
        assert refused.json()["error"]["param"] in ("start", "end")
    shown = world.run("requests", "show", "req-old", "--day", "1970-01-11")
    assert "1970-01-11 00:00:05Z" in shown
    assert "1970-01-11 00:00:05Z" in world.run("requests", "show", "req-old")
    assert "(404)" in world.run("requests", "show", "req-old", "--day", "1970-01-12", status=1)


def test_requests_with_one_id_are_all_shown(world: World) -> None:
    for number in range(3):
        keep(world, f"chatcmpl-twin{number}", request_id="req-twins", created_at=DAY_S + float(number))
    found = ok(world.ops.get(f"{REQUESTS}/req-twins", params={"start": DAY_S}))["answers"]
    assert [each["id"] for each in found] == [f"chatcmpl-twin{number}" for number in (2, 1, 0)]
    sheet = world.run("requests", "show", "req-twins", "--day", "1970-01-02")
    shown = [line.split()[1] for line in sheet.splitlines() if line.startswith("answer")]
    assert shown == [f"chatcmpl-twin{number}" for number in (2, 1, 0)]


def test_another_tenants_request_looks_unknown(world: World) -> None:
    keep(world, "chatcmpl-theirs", request_id="req-theirs", created_at=DAY_S)
    keep(world, "chatcmpl-rivals", request_id="req-theirs", created_at=DAY_S, tenant="evil", user="eve")
    there = {"start": DAY_S}
    with world.client("evil", "boss", role="admin") as rival, world.up.client() as platform:
        unknown = rival.get(f"{REQUESTS}/chatcmpl-none", params=there)
        assert rival.get(f"{REQUESTS}/chatcmpl-theirs", params=there).json() == unknown.json()
        [own] = ok(rival.get(f"{REQUESTS}/req-theirs", params=there))["answers"]
        assert own["id"] == "chatcmpl-rivals"
        assert code(rival.get(f"{REQUESTS}/chatcmpl-theirs", params={"tenant": "acme"})) == (404, "not_found")
        assert code(platform.get(f"{REQUESTS}/chatcmpl-theirs")) == (404, "not_found")
        assert ok(platform.get(f"{REQUESTS}/chatcmpl-theirs", params={"tenant": "acme"}))["answers"]


def test_operators_alone_read_requests_and_that_is_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = keep(world, "chatcmpl-read")
    assert code(world.ann.get(f"{REQUESTS}/{id}")) == (403, "insufficient_scope")
    with world.client("acme", "rita", role="operator", scopes=("review",)) as reviewer:
        assert code(reviewer.get(f"{REQUESTS}/{id}")) == (403, "insufficient_scope")
    ok(world.ops.get(f"{REQUESTS}/{id}"))
    event = ok(world.ops.get("/v1/admin/audit", params={"action": "request.read", "user": "olga"}))["data"][0]
    assert (event["target"], event["outcome"]) == (id, "ok")

    async def full(self: AuditRows, entries: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(AuditRows, "append", full)
    unread = world.ops.get(f"{REQUESTS}/{id}")
    assert code(unread) == (503, "unavailable")
    assert "req" not in unread.text.replace("request", "")


def test_requests_of_a_user_who_is_being_erased_are_unknown(world: World) -> None:
    id = keep(world, "chatcmpl-erased", user="bob")
    ok(world.ops.get(f"{REQUESTS}/{id}"))
    with world.client("acme", "chief", role="admin") as admin:
        ok(admin.post("/v1/admin/erasures", json={"user": "bob"}))
    assert code(world.ops.get(f"{REQUESTS}/{id}")) == (404, "not_found")
