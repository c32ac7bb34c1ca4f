"""A version that was trained on one tenant's data answers another tenant only with the first one's consent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hub.live_world import ADA, NAME, RIVAL, World, live_world, made, retire


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with live_world(tmp_path) as made:
        yield made


def test_a_released_version_answers_its_own_tenant_alone_on_an_alias_of_all(tmp_path: Path, world: World) -> None:
    version = world.do(made(world.up, tmp_path / "adapter")).id
    world.post(f"/versions/{version}/serve")
    override = {"gate_override": {"reason": "a drill"}}
    with world.up.client() as platform:
        body = {"alias": "shared", "target": NAME, "share": 0.5, **override}
        begun = platform.post("/v1/hub/releases", json=body)
        assert begun.status_code == 200, begun.text
        assert world.answering(40, RIVAL, "shared") == {"small"}
        assert world.answering(40, ADA, "shared") == {"small", NAME}
        platform.post(f"/v1/hub/releases/{begun.json()['id']}/promote", json={}).raise_for_status()
        assert world.answering(10, RIVAL, "shared") == {"small"}
        assert world.answering(10, ADA, "shared") == {NAME}


def test_another_tenant_can_neither_see_nor_serve_nor_release_nor_begin_with_it(tmp_path: Path, world: World) -> None:
    version = world.do(made(world.up, tmp_path / "adapter")).id
    world.post(f"/versions/{version}/serve")
    rival = world.clients["rival"]
    for method, path, body in (
        ("GET", f"/versions/{version}", None),
        ("GET", f"/versions/{version}/artefacts/adapter.gguf/content", None),
        ("GET", f"/versions/{version}/lineage", None),
        ("POST", f"/versions/{version}/serve", {}),
        ("POST", f"/versions/{version}/withdraw", {}),
        ("POST", f"/versions/{version}/retire", {"reason": "theirs"}),
        ("POST", "/releases", {"alias": "rivals", "version": version, "evaluation": "eval_1"}),
        ("POST", "/releases", {"alias": "rivals", "target": NAME, "gate_override": {"reason": "theirs"}}),
    ):
        answer = rival.request(method, f"/v1/hub{path}", json=body)
        assert answer.status_code == 404, (path, answer.text)
    assert world.ask(RIVAL, NAME).status_code == 404
    assert NAME not in rival.get("/v1/models").text
    assert world.answering(5, ADA, NAME) == {NAME}, "nothing of that has changed it"


def test_who_has_consent_calls_it_until_that_is_revoked(tmp_path: Path, world: World) -> None:
    version = world.do(made(world.up, tmp_path / "adapter")).id
    rival = world.clients["rival"]
    offered = world.post(f"/versions/{version}/consents", tenant="globex")
    assert (offered["tenant"], offered["scope"], offered["revoked_at"]) == ("globex", "call", None)
    assert world.ask(RIVAL, NAME).status_code == 404, "it is not live"
    world.post(f"/versions/{version}/serve")
    assert world.answering(5, RIVAL, NAME) == {NAME}
    assert rival.get(f"/v1/hub/versions/{version}").status_code == 404, "only its model name is known to others"
    for act in ("serve", "withdraw", "retire", "consents", "consents/revoke"):
        assert rival.post(f"/v1/hub/versions/{version}/{act}", json={"tenant": "initech"}).status_code in (400, 404)
    body = {"alias": "rivals", "target": NAME, "gate_override": {"reason": "a drill"}}
    refused = rival.post("/v1/hub/releases", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_owner")

    world.post(f"/versions/{version}/consents", tenant="globex", scope="release")
    release = rival.post("/v1/hub/releases", json=body).raise_for_status().json()
    rival.post(f"/v1/hub/releases/{release['id']}/promote", json={}).raise_for_status()
    assert world.answering(10, RIVAL, "rivals") == {NAME}

    revoked = world.post(f"/versions/{version}/consents/revoke", tenant="globex")
    assert revoked["revoked_at"] is not None
    assert world.ask(RIVAL, NAME).status_code == 404
    assert NAME not in rival.get("/v1/models").text
    assert world.answering(10, RIVAL, "rivals") == {"small"}, "the base answers at once"
    assert world.answering(5, ADA, NAME) == {NAME}
    [kept] = world.clients["ada"].get(f"/v1/hub/versions/{version}/consents").json()["data"]
    assert kept == revoked
    world.post(f"/versions/{version}/withdraw")
    world.post(f"/versions/{version}/serve")
    assert world.ask(RIVAL, NAME).status_code == 404, "serving it again does not bring the consent back"
    events = world.clients["ada"].get("/v1/admin/audit").json()["data"]
    found = [(event["action"], event["detail"]) for event in events if event["action"].startswith("hub_consent")]
    assert found == [
        ("hub_consent.revoke", {"tenant": "globex"}),
        ("hub_consent.create", {"tenant": "globex", "scope": "release"}),
        ("hub_consent.create", {"tenant": "globex", "scope": "call"}),
    ]


def test_consent_is_the_owners_word_about_a_version_that_is_ready(tmp_path: Path, world: World) -> None:
    version = world.do(made(world.up, tmp_path / "adapter"))
    path = f"/versions/{version.id}/consents"
    assert world.post(path, 400, tenant="acme")["error"]["param"] == "tenant"
    assert world.post(path, 400, tenant="")["error"]["param"] == "tenant"
    assert world.post(path, 400, tenant="globex", scope="own")["error"]["param"] == "scope"
    world.post(f"{path}/revoke", 404, tenant="globex")
    assert world.clients["rival"].get(f"/v1/hub{path}").status_code == 404
    world.do(retire(world.up, version))
    world.post(path, 409, tenant="globex")
