"""What one may not call is not there: in lists, calls, streams, errors and what assistants call in turn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from aiohttp import web

from serving.config import (
    LOCAL_EMBEDDERS,
    Alias,
    Assistant,
    CallAccess,
    Catalog,
    FactsMemory,
    HttpTool,
    React,
    RemoteModel,
    SecretRef,
    Target,
    TenantSecrets,
)
from serving.core.principal import Principal
from tests.callers.identity import key_of
from tests.contract.inference.test_tools import FINAL, Model, act
from tests.contract.running import Gateway, Loop, engine, gateway

ACME = CallAccess(tenants=("acme",))
STAFF = CallAccess(tenants=("acme",), groups=("staff",), users=("zoe",), roles=("admin",))
RESTRICTED = ("private", "theirs", "behind", "desk")
"""What acme alone may call: a model, two aliases and an assistant."""


@dataclass
class Engine(Model):
    """The models, and a ticket system that has the header of each request."""

    says: list[Any] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    tickets: list[str | None] = field(default_factory=list)

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_post("/v1/completions", self.chat)
        app.router.add_post("/tickets", self.add)
        return app

    async def chat(self, request: web.Request) -> web.Response:
        if not self.says:
            self.says = ["hello"]
        return await super().chat(request)

    async def add(self, request: web.Request) -> web.Response:
        self.tickets.append(request.headers.get("Authorization"))
        return web.json_response({"ok": True})


@dataclass(frozen=True)
class World:
    up: Gateway
    engine: Engine
    url: str
    people: dict[str, httpx.Client]

    def chat(self, who: str, model: str, *says: Any, **more: Any) -> httpx.Response:
        self.engine.says, self.engine.asked = list(says), []
        self.engine.tickets.clear()
        body = {"model": model, "messages": [{"role": "user", "content": "Open a ticket."}], **more}
        return self.people[who].post("/v1/chat/completions", json=body)


PEOPLE = {"ada": "acme", "sam": "acme", "zoe": "acme", "boss": "acme", "rival": "globex", "zoe2": "globex"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder, loop, scripted = tmp_path_factory.mktemp("access"), Loop(), Engine()
    for name in ("stack", "acme"):
        (folder / f"{name}.token").write_text(f"the-token-of-{name}")
    secrets = {name: SecretRef(ref=f"file:{folder / name}.token") for name in ("stack", "acme")}
    with engine(loop, scripted.app()) as port:
        base, url = f"http://127.0.0.1:{port}/v1", f"http://127.0.0.1:{port}/tickets"

        def tool(name: str, secret: SecretRef | TenantSecrets, access: CallAccess | None = None) -> HttpTool:
            return HttpTool(
                name=name,
                description="Opens tickets.",
                allow=(url,),
                private=True,
                methods=("POST",),
                headers={"Authorization": secret},
                access=access,
            )

        own, shared = {"acme": secrets["acme"]}, secrets["stack"]
        catalog = Catalog(
            models=(
                RemoteModel(name="open", url=base),
                RemoteModel(name="private", url=base, access=ACME),
                RemoteModel(name="staffed", url=base, access=STAFF),
                RemoteModel(name="gone", url=base, access=ACME, api_key=SecretRef(ref="file:/nowhere/key")),
            ),
            aliases=(
                Alias(name="theirs", targets=(Target(model="open"),), access=ACME),
                Alias(name="behind", targets=(Target(model="private"),)),
                Alias(name="mixed", targets=(Target(model="private", weight=1e6), Target(model="open", weight=1e-3))),
            ),
            assistants=(
                Assistant(
                    name="desk",
                    model="private",
                    tools=("tickets",),
                    strategy=React(),
                    access=ACME,
                    memory=FactsMemory(),
                ),
                Assistant(name="composed", model="private"),
                Assistant(name="stuck", model="gone"),
                Assistant(name="toolless", model="open", tools=("tickets",), strategy=React()),
                Assistant(
                    name="shared",
                    model="open",
                    tools=("calculator", "tickets", "owned", "defaulted"),
                    strategy=React(protocol="tools"),
                ),
            ),
            tools=(
                tool("tickets", shared, ACME),
                tool("owned", TenantSecrets(tenants=own)),
                tool("defaulted", TenantSecrets(tenants=own, default=shared)),
            ),
        )
        with gateway(loop, folder, catalog) as up:
            people = {}
            for name, tenant in PEOPLE.items():
                who = Principal(tenant, name.rstrip("2"), "")
                key = loop.do(key_of(up.services, who, role="admin" if name == "boss" else "user"))
                if name in ("sam", "rival"):
                    loop.do(up.services.users.update(who, who.user, groups=["staff"]))
                headers = {"Authorization": f"Bearer {key}"}
                people[name] = httpx.Client(base_url=up.url, headers=headers, timeout=60)
            yield World(up, scripted, url, people)
            for client in people.values():
                client.close()
    loop.stop()


def names(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"]}


def test_lists_contain_only_permitted_models(world: World) -> None:
    everybodys = {"open", "mixed", "composed", "shared", "stuck", "toolless", *LOCAL_EMBEDDERS}
    assert names(world.people["rival"]) == everybodys
    assert names(world.people["ada"]) == everybodys | {*RESTRICTED, "gone"}


@pytest.mark.parametrize(
    ("who", "there"), [("ada", False), ("sam", True), ("zoe", True), ("boss", True), ("rival", False), ("zoe2", False)]
)
def test_groups_users_and_roles_are_those_of_the_tenants(world: World, who: str, there: bool) -> None:
    """Another tenant's admin gives the same names."""
    assert ("staffed" in names(world.people[who])) is there
    assert (world.chat(who, "staffed").status_code == 200) is there


def asked(name: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Every request that names a model."""
    chat = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    response = {"model": name, "input": "hi"}
    return [
        ("GET", f"/v1/models/{name}", None),
        ("POST", "/v1/chat/completions", chat),
        ("POST", "/v1/chat/completions", {**chat, "stream": True}),
        ("POST", "/v1/chat/completions", {**chat, "store": True, "strategy": "react", "approvals": ["x"]}),
        ("POST", "/v1/chat/completions", {**chat, "conversation": "conv_none"}),
        ("POST", "/v1/responses", response),
        ("POST", "/v1/responses", {**response, "stream": True}),
        ("POST", "/v1/responses", {**response, "previous_response_id": "resp_none"}),
        ("POST", "/v1/responses/input_tokens", response),
        ("POST", "/v1/completions", {"model": name, "prompt": "hi"}),
        ("POST", "/v1/embeddings", {"model": name, "input": "hi"}),
        ("POST", "/v1/memories", {"assistant": name, "text": "hi"}),
        ("GET", f"/v1/chat/completions?model={name}", None),
    ]


@pytest.mark.parametrize("name", RESTRICTED)
@pytest.mark.parametrize("route", range(len(asked(""))))
def test_forbidden_models_look_like_unknown_ones(world: World, name: str, route: int) -> None:
    world.engine.asked = []
    told = []
    for each in (name, "nothing-at-all"):
        method, path, body = asked(each)[route]
        answer = world.people["rival"].request(method, path, json=body)
        told.append((answer.status_code, answer.text.replace(each, "that name"), sorted(answer.headers)))
    assert told[0] == told[1]
    assert world.engine.asked == []
    method, path, body = asked(name)[route]
    theirs = world.people["ada"].request(method, path, json=body)
    assert b"model_not_found" not in theirs.content or (name, path) == (name, "/v1/embeddings")


def test_an_alias_does_not_bypass_the_access_of_its_targets(world: World) -> None:
    for _ in range(5):
        assert world.chat("rival", "mixed").status_code == 200
        assert world.engine.asked[0]["model"] == "open"
    world.chat("ada", "mixed")
    assert world.engine.asked[0]["model"] == "private"


def test_an_assistants_own_access_decides(world: World) -> None:
    """Its model is the operator's choice."""
    assert world.chat("rival", "composed").status_code == 200
    assert world.engine.asked[0]["model"] == "private"


def test_a_tool_that_one_may_not_call_is_not_offered_and_not_run(world: World) -> None:
    offered = {}
    for who in ("ada", "rival"):
        assert world.chat(who, "shared", "hello").status_code == 200
        offered[who] = [tool["function"]["name"] for tool in world.engine.asked[0]["tools"]]
    assert offered == {
        "ada": ["calculator", "tickets", "owned", "defaulted"],
        "rival": ["calculator", "defaulted"],
    }
    for name in ("tickets", "owned"):
        said = world.chat("rival", "shared", call(name, world.url), "hello").json()["choices"][0]["message"]
        assert world.engine.tickets == []
        told = next(step["text"] for step in said["headrace"]["steps"] if step["kind"] == "observation")
        assert told == f"Error: {name} is not a valid tool, try one of [calculator, defaulted]."


@pytest.mark.parametrize(
    ("who", "tool", "token"), [("ada", "owned", "acme"), ("ada", "defaulted", "acme"), ("rival", "defaulted", "stack")]
)
def test_a_tool_acts_with_the_secret_of_its_callers_tenant(world: World, who: str, tool: str, token: str) -> None:
    world.chat(who, "shared", call(tool, world.url), "hello")
    assert world.engine.tickets == [f"the-token-of-{token}"]


def test_another_teams_assistant_does_not_act_for_a_rival(world: World) -> None:
    post = act("tickets", url=world.url, body="a")
    assert world.chat("ada", "desk", post, FINAL).status_code == 200
    assert world.engine.tickets == ["the-token-of-stack"]
    assert world.chat("rival", "desk", post, FINAL).status_code == 404
    assert world.engine.tickets == []


def test_an_assistant_without_permitted_tools_has_none(world: World) -> None:
    answer = world.chat("rival", "toolless")
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "This assistant has no tools, which react needs.",
    )


def test_errors_name_the_requested_model(world: World) -> None:
    error = world.chat("rival", "stuck").json()["error"]
    assert (error["code"], error["message"]) == ("unavailable", "What answers for stuck cannot be asked now.")
    assert "gone" in world.chat("ada", "gone").json()["error"]["message"]


def call(name: str, url: str) -> dict[str, Any]:
    arguments = json.dumps({"url": url, "body": "a"})
    return {
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": name, "arguments": arguments}}],
    }
