"""The gate of releases: which evaluations of a version let it replace what an alias serves, and who may do without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.api.hub import gate
from serving.cli.card import version_lines
from serving.config import Catalog
from serving.core.ids import now
from tests.contract.hub.live_world import ADA, CHAT, MODEL, NAME, RIVALS, SHARED, World, live_world, made
from tests.hub.gates import evaluated, passed_gate

WEEK_S = 168 * 3600


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with live_world(tmp_path) as made:
        yield made


@pytest.fixture
def version(world: World, tmp_path: Path) -> str:
    """A version that is live."""
    return live(world, tmp_path)


def live(world: World, folder: Path) -> str:
    id = world.do(made(world.up, folder / "adapter")).id
    world.post(f"/versions/{id}/serve")
    return id


def required(world: World, **body: Any) -> str:
    """Tries to release, and returns why that needs the gate."""
    error = world.post("/releases", 409, alias="chat", **body)["error"]
    assert (error["code"], error["param"]) == ("gate_required", "evaluation")
    return str(error["message"])


def test_a_version_needs_an_evaluation_by_whichever_name_it_is_released(world: World, version: str) -> None:
    for target in ({"version": version}, {"target": NAME}):
        said = required(world, **target)
        assert f"`headrace hub evaluations start SUITE {NAME} --against small`" in said
    assert world.answering(5) == {"small"}
    http = world.clients["ada"]
    refused = evaluated(http, NAME, "small", bounds={"min_win_rate": 0.9})
    assert "has not passed the gate" in required(world, version=version, evaluation=refused["id"])
    loose = evaluated(http, NAME, "small", bounds={"min_win_rate": 0, "max_worse": 0.5})
    assert loose["card"]["gate"]["passed"]
    assert "more lenient than managed.gate.max_worse" in required(world, version=version, evaluation=loose["id"])
    world.post("/releases", 404, alias="chat", version=version, evaluation="eval_none")
    passed = passed_gate(http, NAME, "small")
    release = world.post("/releases", alias="chat", target=NAME, evaluation=passed)
    assert (release["version"], release["evaluation"], release["gate_override"]) == (version, passed, None)
    assert world.post(f"/releases/{release['id']}/promote")["status"] == "promoted"


def test_an_evaluation_is_for_one_version_and_one_base(world: World, version: str, tmp_path: Path) -> None:
    http = world.clients["ada"]
    later = live(world, tmp_path)
    first, second = (passed_gate(http, name, "small") for name in (NAME, "acme.docs.2"))
    refused = world.post("/releases", 400, alias="chat", version=later, evaluation=first)
    assert refused["error"]["param"] == "evaluation"
    release = world.post("/releases", alias="chat", version=version, evaluation=first)
    world.post(f"/releases/{release['id']}/promote")
    said = required(world, version=later, evaluation=second)
    assert f"compares with a model other than {NAME}" in said
    assert f"--against {NAME}`" in said
    again = passed_gate(http, "acme.docs.2", NAME)
    assert world.post("/releases", alias="chat", version=later, evaluation=again)["base"] == NAME


def test_an_evaluation_against_an_alias_is_of_what_it_served_all_the_time(
    world: World, version: str, tmp_path: Path
) -> None:
    http, override = world.clients["ada"], {"reason": "a drill"}
    later = live(world, tmp_path)
    before = passed_gate(http, "acme.docs.2", "chat")
    release = world.post("/releases", alias="chat", version=version, gate_override=override)
    meanwhile = passed_gate(http, "acme.docs.2", "chat")
    world.post(f"/releases/{release['id']}/pause")
    paused = passed_gate(http, "acme.docs.2", "chat")
    world.post(f"/releases/{release['id']}/promote")
    assert "has served other weights" in required(world, version=later, evaluation=before)
    world.post(f"/releases/{release['id']}/rollback")
    assert "has served other weights" in required(world, version=later, evaluation=meanwhile)
    assert "more than one model answered" in required(world, version=later, evaluation=paused)
    assert world.post("/releases", alias="chat", version=later, evaluation=before)["status"] == "canary"


def test_an_evaluation_becomes_too_old(world: World, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = {"version": version, "evaluation": passed_gate(world.clients["ada"], NAME, "small")}
    monkeypatch.setattr(gate, "now", lambda: now() + WEEK_S + 1)
    assert "older than 168 hours (managed.max_evaluation_hours)" in required(world, **body)
    monkeypatch.setattr(gate, "now", lambda: now() + WEEK_S - 60)
    world.post("/releases", alias="chat", **body)


def test_other_weights_of_the_base_need_another_evaluation(world: World, version: str) -> None:
    body = {"version": version, "evaluation": passed_gate(world.clients["ada"], NAME, "small")}
    changed = MODEL.model_copy(update={"source": "file:///smaller.gguf"})

    async def configure() -> None:
        world.up.services.configure(Catalog(models=(changed,), aliases=(CHAT, RIVALS, SHARED)))

    world.do(configure())
    assert "this evaluation is of other weights" in required(world, **body)


def test_who_does_without_the_gate_says_why_on_record(world: World, version: str) -> None:
    reason = {"reason": "the suite's judge is down"}
    for status, body in (
        (400, {"version": version, "gate_override": {"reason": " "}}),
        (400, {"version": version, "gate_override": {}}),
        (400, {"version": version, "gate_override": reason, "evaluation": "eval_1"}),
        (400, {"target": "small", "gate_override": reason}),
    ):
        world.post("/releases", status, alias="chat", **body)
    release = world.post("/releases", alias="chat", version=version, gate_override=reason)
    assert release["gate_override"] == reason
    http = world.clients["ada"]
    card = http.get(f"/v1/hub/versions/{version}").json()["card"]
    [noted] = card["gate_overrides"]
    assert (noted["release"], noted["alias"], noted["reason"]) == (release["id"], "chat", reason["reason"])
    [event] = http.get("/v1/admin/audit", params={"action": "hub_release.create"}).json()["data"]
    assert (event["target"], event["detail"]) == (release["id"], {"gate_override": reason["reason"]})
    world.post(f"/releases/{release['id']}/promote", 400, gate_override=reason)
    world.post(f"/releases/{release['id']}/promote")
    evaluated(http, NAME, "small")
    card = http.get(f"/v1/hub/versions/{version}").json()["card"]
    assert card["gate"]["passed"]
    assert card["gate_overrides"] == [noted], "a suite that is run later does not hide it"
    said = "\n".join(version_lines(card))
    assert "gate: passed" in said
    assert f"without the gate ({release['id']}): {reason['reason']}" in said


def test_a_release_from_before_the_gate_was_needed_is_not_promoted(world: World, version: str) -> None:
    release = world.do(
        world.up.services.hub.releases.create(
            ADA, "chat", NAME, managed=CHAT.managed, share=0.5, version=version, usable=lambda model: True
        )
    )
    assert not release.gated
    error = world.post(f"/releases/{release.id}/promote", 409)["error"]
    assert (error["code"], "began without an evaluation" in error["message"]) == ("gate_required", True)
    assert world.post(f"/releases/{release.id}/pause")["status"] == "paused"
    reason = {"reason": "evaluated by hand"}
    promoted = world.post(f"/releases/{release.id}/promote", gate_override=reason)
    assert (promoted["status"], promoted["gate_override"]) == ("promoted", reason)
    [noted] = world.clients["ada"].get(f"/v1/hub/versions/{version}").json()["card"]["gate_overrides"]
    assert noted["reason"] == reason["reason"]
