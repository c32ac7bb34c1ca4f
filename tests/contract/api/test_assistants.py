"""Assistants that tenants make: from their making to their answers, their versions, and who is told of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from serving.config import Assistant, CallAccess, Catalog, Limits, RemoteModel, SecretsGuardrail
from serving.core.principal import Principal
from serving.retrieval.types import Attribution, Hit
from tests.callers.identity import key_of
from tests.contract.campaigns.engine import Engine
from tests.contract.running import Gateway, Loop, engine, gateway

CHUNK = Hit("c", "file_1", "sea.md", "Sea", "", "The sea is deep.", 0, 16, None, 0.9, 0.9, 0.0)

STORES = "/v1/vector_stores"
SECRET = "My key is AKIAIOSFODNN7EXAMPLE and wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY."


class Attentive(Engine):
    """The engine, which remembers what it was asked."""

    asked: list[list[dict[str, Any]]]

    def said(self, messages: list[dict[str, Any]]) -> str:
        self.asked.append(messages)
        return "echo"


class Retrieval:
    """Finds one passage, and remembers in which stores it was to look."""

    def __init__(self) -> None:
        self.call = self
        self.searched: list[tuple[str, ...]] = []
        self.finds = [CHUNK]

    async def remote(self, method: str, *args: Any) -> Any:
        if method == "attribute":
            return Attribution((), ())
        self.searched.append(args[5])
        return self.finds


class World:
    def __init__(self, up: Gateway, scripted: Attentive, retrieval: Retrieval, catalog: Catalog) -> None:
        self.up, self.engine, self.retrieval, self.catalog = up, scripted, retrieval, catalog
        self.ann, self.bob, self.other = self.client("acme", "ann"), self.client("acme", "bob"), self.client("o", "ann")
        self.boss = self.client("acme", "boss", role="admin")

    def client(self, tenant: str, user: str, **more: Any) -> httpx.Client:
        key = self.up.loop.do(key_of(self.up.services, Principal(tenant, user, ""), **more))
        return httpx.Client(base_url=self.up.url, headers={"Authorization": f"Bearer {key}"}, timeout=60)

    def make(self, name: str, who: httpx.Client | None = None, **more: Any) -> str:
        made = (who or self.ann).post("/v1/assistants", json={"name": name, "model": "m", **more})
        assert made.status_code == 200, made.text
        return str(made.json()["id"])


def ask(who: httpx.Client, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "How deep is the sea?"}], **more}
    return who.post("/v1/chat/completions", json=body)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    loop, scripted, retrieval = Loop(), Attentive(), Retrieval()
    scripted.asked = []
    with engine(loop, scripted.app()) as port:
        url = f"http://127.0.0.1:{port}/v1"
        elsewhere = CallAccess(tenants=("elsewhere",))
        catalog = Catalog(
            models=(RemoteModel(name="m", url=url), RemoteModel(name="hidden", url=url, access=elsewhere)),
            assistants=(
                Assistant(name="docs", model="m"),
                Assistant(name="raw", model="m", guardrails=(), access=elsewhere),
            ),
            guardrails=(SecretsGuardrail(check="secrets", on=("input",), action="block"),),
        )
        folder, limits = tmp_path_factory.mktemp("gateway"), Limits(assistants=12)
        with gateway(loop, folder, catalog, limits=limits, retrieval=retrieval) as up:
            yield World(up, scripted, retrieval, catalog)
    loop.stop()


def test_an_assistant_answers_by_its_name_and_its_id(world: World) -> None:
    store = world.ann.post("/v1/vector_stores", json={"name": "sea"}).json()["id"]
    id = world.make("pirate", instructions="Talk like a pirate.", vector_store_ids=[store], description="Aye")
    for model in ("pirate", id):
        answer = ask(world.bob, model)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == model
        assert answer.json()["choices"][0]["message"]["headrace"]["retrieved"] == 1
        system, user = world.engine.asked[-1]
        assert system == {"role": "system", "content": "Talk like a pirate."}
        assert "written by others" in user["content"]
        assert "The sea is deep." in user["content"]
        assert world.retrieval.searched[-1] == (store,)
    response = world.bob.post("/v1/responses", json={"model": "pirate", "input": "How deep is the sea?"})
    assert response.json()["output"][0]["content"][0]["text"] == "echo"
    listed = {one["id"]: one for one in world.bob.get("/v1/models").json()["data"]}
    assert listed["pirate"]["headrace"] == {"kind": "assistant", "task": "chat", "description": "Aye"}
    assert world.bob.get("/v1/models/pirate").json() == listed["pirate"]
    usage = world.bob.get("/v1/usage", params={"by": "model"}).json()["data"]
    assert [row["id"] for row in usage] == ["m"], "no metric and no count has a name that a tenant gave"


def test_old_versions_stay_and_the_active_one_answers(world: World) -> None:
    id = world.make("speaker", instructions="one")
    url = f"/v1/assistants/{id}"

    def told() -> Any:
        assert ask(world.ann, "speaker").status_code == 200
        return world.engine.asked[-1][0]["content"]

    assert told() == "one"
    second = world.ann.post(f"{url}/versions", json={"model": "m", "instructions": "two"}).json()
    assert (second["version"], second["object"], told()) == (2, "assistant.version", "two")
    silent = {"model": "m", "instructions": "three", "activate": False}
    assert world.ann.post(f"{url}/versions", json=silent).json()["version"] == 3
    assert (told(), world.ann.get(url).json()["version"]) == ("two", 2)
    back = world.ann.post(url, json={"version": 1}).json()
    assert (back["version"], back["instructions"], told()) == (1, "one", "one")
    versions = world.ann.get(f"{url}/versions").json()["data"]
    assert [(one["version"], one["instructions"]) for one in versions] == [(3, "three"), (2, "two"), (1, "one")]
    after = world.ann.get(f"{url}/versions", params={"after": versions[0]["id"]}).json()["data"]
    assert after == versions[1:]
    missing = world.ann.post(url, json={"version": 4})
    assert (missing.status_code, missing.json()["error"]["param"]) == (404, "version")
    assert world.ann.delete(url).json() == {"id": id, "object": "assistant.deleted", "deleted": True}
    assert {ask(world.ann, model).status_code for model in ("speaker", id)} == {404}


def test_another_tenants_assistants_look_unknown(world: World) -> None:
    shared, private = world.make("shared"), world.make("private", access={})
    for who, id, read, change in (
        (world.other, shared, 404, 404),
        (world.bob, private, 404, 404),
        (world.bob, shared, 200, 403),
        (world.boss, private, 404, 200),
    ):
        url = f"/v1/assistants/{id}"
        assert {who.get(url).status_code, who.get(f"{url}/versions").status_code} == {read}
        assert ask(who, id).status_code == read
        assert who.post(url, json={"version": 1}).status_code == change
        assert who.post(f"{url}/versions", json={"model": "m"}).status_code in (change, read if change == 403 else 404)
    assert ask(world.other, "shared").text.replace("shared", "nothing") == ask(world.other, "nothing").text
    assert "shared" not in {one["id"] for one in world.other.get("/v1/models").json()["data"]}
    assert [one["name"] for one in world.other.get("/v1/assistants").json()["data"]] == []
    assert world.make("shared", world.other) != shared, "names are each tenant's own"
    theirs = world.ann.post("/v1/vector_stores", json={"name": "hers", "access": {}}).json()["id"]
    reads = world.make("reads", vector_store_ids=[theirs])
    for path in (f"/v1/assistants/{reads}", f"/v1/assistants/{reads}/versions", "/v1/assistants"):
        assert (theirs in world.ann.get(path).text, theirs in world.bob.get(path).text) == (True, False), path
    for wider in (None, {"users": ["boss"]}):
        refused = world.boss.post(f"/v1/assistants/{private}", json={"access": wider})
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_owner")
    assert ask(world.boss, private).status_code == 404
    opened = world.ann.post(f"/v1/assistants/{private}", json={"access": {"users": ["bob"]}}).json()
    assert opened["headrace"] == {"owner": "ann", "access": {"users": ["ann", "bob"], "groups": []}}
    assert ask(world.bob, "private").status_code == 200
    assert world.boss.post(f"/v1/assistants/{private}", json={"access": {}}).status_code == 200
    assert ask(world.bob, "private").status_code == 404, "an admin may shut it"


def test_new_guardrails_apply_to_earlier_messages(world: World) -> None:
    services, catalog = world.up.services, world.catalog

    async def configure(with_guardrails: Catalog) -> None:
        services.configure(with_guardrails)

    world.up.loop.do(configure(catalog.model_copy(update={"guardrails": ()})))
    world.make("leaky", instructions=SECRET)
    world.make("chatty", refusal=SECRET, vector_store_ids=[world.ann.post(STORES, json={"name": "s"}).json()["id"]])
    assert ask(world.ann, "leaky").status_code == 200
    both = SecretsGuardrail(check="secrets", on=("input", "output"), action="block")
    world.up.loop.do(configure(catalog.model_copy(update={"guardrails": (both,)})))
    try:
        for _ in range(2):  # by the check, and from memory
            error = ask(world.ann, "leaky").json()["error"]
            assert (error["code"], error["param"]) == ("content_filter", "model")
        world.retrieval.finds = []
        choice = ask(world.ann, "chatty").json()["choices"][0]
        assert (choice["finish_reason"], "AKIA" in choice["message"]["content"]) == ("content_filter", False)
    finally:
        world.retrieval.finds = [CHUNK]
        world.up.loop.do(configure(catalog))


def test_names_of_the_stack_are_never_shadowed(world: World) -> None:
    for name in ("m", "docs", "all-minilm-l6-v2"):
        assert world.ann.post("/v1/assistants", json={"name": name, "model": "m"}).status_code == 409
    world.make("twice")
    assert world.bob.post("/v1/assistants", json={"name": "twice", "model": "m"}).status_code == 409
    # One that others alone may call is not there: its name is free, and its guardrails are not inherited.
    world.make("raw")
    blocked = ask(world.ann, "raw", messages=[{"role": "user", "content": SECRET}])
    assert blocked.json()["error"]["code"] == "content_filter"


def test_invalid_assistant_settings_are_rejected(world: World) -> None:
    theirs = world.other.post("/v1/vector_stores", json={"name": "theirs"}).json()["id"]
    cases: list[tuple[dict[str, Any], int, str | None]] = [
        ({"model": "hidden"}, 404, "model"),
        ({"model": "docs"}, 400, "model"),
        ({"vector_store_ids": [theirs]}, 404, "vector_store_ids"),
        ({"memory": {"kind": "facts"}}, 400, "memory"),
        ({"guardrails": []}, 400, "guardrails"),
        ({"name": "Not a name"}, 400, "name"),
        ({"instructions": SECRET}, 400, "instructions"),
    ]
    for more, status, param in cases:
        answer = world.ann.post("/v1/assistants", json={"name": "never", "model": "m", **more})
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    assert world.client("acme", "bob", scopes=["inference"]).get("/v1/assistants").status_code == 403
    made = []
    while (answer := world.other.post("/v1/assistants", json={"name": f"n{len(made)}", "model": "m"})).is_success:
        made.append(answer.json()["id"])
    assert answer.json()["error"]["param"] == "name"
    assert len(world.other.get("/v1/assistants", params={"limit": 100}).json()["data"]) == 12
