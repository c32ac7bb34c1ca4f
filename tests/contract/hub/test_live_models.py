"""Versions that are live as a gateway's callers see them: who may call one, which engine is asked, and what is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from aiohttp import web

from serving.config import AdapterBounds, Alias, CallAccess, Catalog, LlamaCppModel, Managed
from serving.core.principal import Principal
from serving.hub import released_versions
from serving.hub.artefacts import Artefacts
from serving.hub.versions import Version, Versions
from serving.store.objects import data
from tests.callers.identity import key_of
from tests.contract.hub.replica import Replica
from tests.contract.running import Gateway, Loop, engine, gateway
from tests.wait import eventually

T = TypeVar("T")
MODEL = LlamaCppModel(name="small", source="file:///small.gguf", adapters=AdapterBounds(max=2))
RIVALS = Alias(name="rivals", managed=Managed(base="small"), access=CallAccess(tenants=("globex",)))
SUITE = {"name": "s", "prompts": [{"id": "p", "messages": "?", "checks": [{"kind": "exact", "text": "x"}]}]}
ADA, RIVAL = Principal("acme", "ada", ""), Principal("globex", "rival", "")
NAME = "acme.docs.1"


async def made(up: Gateway, file: Path) -> Version:
    """A version of the tenant acme that is ready."""
    services = up.services
    versions = Versions(services.database, Artefacts(data.place(services.config.store, data.HUB)))
    begun = await versions.begin(
        ADA, name="docs", kind="adapter", base="small", base_digest="0" * 64, method="registered", rank=8
    )
    await versions.add(ADA, begun.id, "adapter.gguf", file)
    return await versions.finish(ADA, begun.id)


async def retire(up: Gateway, version: Version) -> None:
    services = up.services
    versions = Versions(services.database, Artefacts(data.place(services.config.store, data.HUB)))
    await versions.retire(ADA, version.id, "worse")


class World:
    """A gateway with the replica of a model, and an admin of two tenants."""

    def __init__(self, up: Gateway, replica: Replica) -> None:
        self.up, self.replica = up, replica
        self.clients = {}
        for who in (ADA, RIVAL):
            headers = {"Authorization": f"Bearer {up.loop.do(key_of(up.services, who, role='admin'))}"}
            self.clients[who.user] = httpx.Client(base_url=up.url, headers=headers, timeout=60, trust_env=False)

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        done: T = self.up.loop.do(coroutine)
        return done

    def ask(self, who: Principal, model: str) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        return self.clients[who.user].post("/v1/chat/completions", json=body)

    def post(self, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
        answer = self.clients["ada"].post(f"/v1/hub{path}", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def answering(self, times: int = 30) -> set[str]:
        """The models that answer for the alias."""
        before = len(self.replica.asked)
        for _ in range(times):
            assert self.ask(ADA, "chat").status_code == 200
        return {each["model"] for each in self.replica.asked[before:]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    replica, loop = Replica(), Loop()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", replica.answer)
    (tmp_path / "adapter").write_bytes(b"weights")
    chat = Alias(name="chat", managed=Managed(base="small", max_canary=0.5), access=CallAccess(tenants=("acme",)))
    catalog = Catalog(models=(MODEL,), aliases=(chat, RIVALS))
    with loop, engine(loop, app) as port, gateway(loop, tmp_path, catalog, handle_of=lambda name: replica) as up:
        replica.url = f"http://127.0.0.1:{port}/v1"
        made = World(up, replica)
        yield made
        for client in made.clients.values():
            client.close()


def test_following_goes_on_after_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    live, turns = world.up.services.live_models, []
    refresh = live.refresh

    async def unreadable_once() -> bool:
        turns.append(len(turns))
        if len(turns) == 1:
            raise OSError("the file of the live set cannot be read")
        return await refresh()

    monkeypatch.setattr(live, "refresh", unreadable_once)
    eventually(lambda: len(turns) > 1, "the live adapters are followed again")


def test_a_live_version_is_a_model_of_its_tenants_until_it_is_retired(tmp_path: Path, world: World) -> None:
    version = world.do(made(world.up, tmp_path / "adapter"))
    ask, clients = world.ask, world.clients
    assert ask(ADA, NAME).status_code == 404
    path = f"/v1/hub/versions/{version.id}"
    assert clients["rival"].post(f"{path}/serve").status_code == 404
    served = clients["ada"].post(f"{path}/serve")
    assert served.status_code == 200, served.text
    state = {"object": "hub.live", "version": version.id, "model": NAME, "base": "small", "live": True}
    assert served.json() == {**state, "replicas": 0, "loaded": 0, "leaving": 0, "failures": []}
    assert ask(ADA, NAME).status_code == 200
    assert ask(RIVAL, NAME).json()["error"]["code"] == "model_not_found"
    listed = [{each["id"] for each in c.get("/v1/models").json()["data"]} for c in clients.values()]
    assert [NAME in names for names in listed] == [True, False]
    release = {"alias": "rivals", "target": NAME}
    assert clients["rival"].post("/v1/hub/releases", json=release).json()["error"]["param"] == "target"
    suite = clients["ada"].post("/v1/hub/suites", json=SUITE).raise_for_status().json()["id"]
    evaluation = {"suite": suite, "model": NAME}
    measured = clients["ada"].post("/v1/hub/evaluations", json=evaluation).raise_for_status().json()
    assert measured["version"] == version.id, "its training data is compared without asking"
    clients["ada"].post(f"/v1/hub/evaluations/{measured['id']}/cancel")
    world.replica.asked.clear()
    foreign = clients["ada"].post("/v1/hub/evaluations", json=evaluation | {"model": "small", "version": version.id})
    assert (foreign.status_code, foreign.json()["error"]["param"]) == (400, "version"), "another model's card"
    assert ask(ADA, NAME).status_code == 200
    assert ask(RIVAL, "small").status_code == 200
    sent = [(each["model"], each["lora"][0]["scale"], each["id_slot"]) for each in world.replica.asked]
    assert sent == [(NAME, 1, 1), ("small", 0, 1)]
    with sqlite3.connect(tmp_path / "h.db") as database:
        kept = database.execute("SELECT model, adapter FROM captures ORDER BY rowid").fetchall()
    assert kept[-2:] == [("small", NAME), ("small", None)], "captures name the version that answered"
    assert clients["ada"].post(f"{path}/withdraw").json()["live"] is False
    assert ask(ADA, NAME).status_code == 404
    assert clients["ada"].post(f"{path}/serve").json()["live"] is True
    world.do(retire(world.up, version))
    eventually(lambda: ask(ADA, NAME).status_code == 404, "the version has ended", 60)


def test_a_release_makes_its_version_live_and_a_rollback_withdraws_it(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(released_versions, "WITHDRAW_AFTER_S", 0.2)
    version = world.do(made(world.up, tmp_path / "adapter"))

    def live() -> bool:
        found: bool = world.clients["ada"].get(f"/v1/hub/versions/{version.id}/live").json()["live"]
        return found

    asked = {"alias": "chat", "version": version.id}
    assert world.post("/releases", 404, alias="chat", version="mver_" + "0" * 32)["error"]["param"] == "version"
    world.post("/releases", 400, **asked, target=NAME)
    world.post("/releases", 400, alias="chat")
    release = world.post("/releases", **asked, share=0.5)
    assert (release["target"], release["version"], live()) == (NAME, version.id, True)
    assert world.answering() == {"small", NAME}
    world.post("/releases", 409, **asked)
    assert "release uses" in world.post(f"/versions/{version.id}/withdraw", 409)["error"]["message"]
    world.post(f"/releases/{release['id']}/rollback")
    assert world.answering(10) == {"small"}
    eventually(lambda: not live(), "the version is withdrawn")
    release = world.post("/releases", **asked)
    world.post(f"/releases/{release['id']}/promote")
    assert world.answering(10) == {NAME}
    assert (live(), world.ask(RIVAL, NAME).status_code) == (True, 404)
    world.post(f"/releases/{release['id']}/rollback")
    eventually(lambda: not live(), "the version is withdrawn after its promotion too")
    assert world.answering(10) == {"small"}
