"""A version that was trained on one tenant's data never answers another tenant, whoever releases it, and where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.hub.live_world import ADA, NAME, RIVAL, World, live_world, made


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
