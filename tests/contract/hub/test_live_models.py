"""Versions that are live as a gateway's callers see them: who may call one, which engine is asked, and what is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.hub import released_versions
from tests.contract.hub.live_world import ADA, NAME, RIVAL, World, live_world, made, retire
from tests.hub.gates import passed_gate
from tests.wait import eventually

SUITE = {"name": "s", "prompts": [{"id": "p", "messages": "?", "checks": [{"kind": "exact", "text": "x"}]}]}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with live_world(tmp_path) as made:
        yield made


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

    world.post(f"/versions/{version.id}/serve")
    passed = passed_gate(world.clients["ada"], NAME, "chat")
    world.post(f"/versions/{version.id}/withdraw")
    asked = {"alias": "chat", "version": version.id, "evaluation": passed}
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
