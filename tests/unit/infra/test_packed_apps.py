"""Apps in the configuration: what is wrong with one is said before anything exists."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from infra import application, apps
from infra.config import StackConfig
from infra.config_loader import load
from infra.network import _models
from infra.targets import preflight
from serving.config import App, AppModel, Objectives
from serving.config.serve_document import serve_document
from tests.unit.config.test_document import CONFIG

LOCKED = f"langgraph==1.2.24 \\\n    --hash=sha256:{'0' * 64}\n# a comment\n"
APP: dict[str, Any] = {"name": "agent", "object": "agents:graph", "folder": "app"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "agents.py").write_text("if True:\n    graph: object = 1\n")
    (folder / "broken.py").write_text("def (")
    (folder / "locked.txt").write_text(LOCKED)
    (folder / "open.txt").write_text("langgraph>=1\n")
    for hidden in (".env", "__pycache__/agents.pyc"):
        (folder / hidden).write_text("secret")
    return tmp_path


def problems(checkout: Path, **settings: Any) -> list[str]:
    config = StackConfig(apps=(App(**{**APP, **settings}),))
    return [f"{mistake.key} {mistake.problem}" for mistake in apps.mistakes(config, checkout)]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, None),
        ({"requirements": "locked.txt"}, None),
        ({"folder": None, "requirements": "app/locked.txt"}, None),
        ({"folder": "nowhere"}, "apps[0].folder there is no folder"),
        ({"folder": None}, "apps[0].folder is missing"),
        ({"object": "other:graph"}, "apps[0].object there is no module other"),
        ({"object": "agents:chain"}, "defines no 'chain'"),
        ({"object": "broken:graph"}, "is not Python"),
        ({"requirements": "open.txt"}, "not a pinned version with its hash: 'langgraph>=1'"),
        ({"requirements": "none.txt"}, "cannot be read: No such file"),
    ],
)
def test_problems_of_an_app_are_reported(checkout: Path, settings: dict[str, Any], said: str | None) -> None:
    found = problems(checkout, **settings)
    assert found == [] if said is None else said in found[0]


def test_an_app_has_a_size_limit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apps, "ARCHIVE_BYTES", 10)
    assert "more than the limit of 0 for an app" in problems(checkout)[0]


def test_an_archive_is_its_content_alone(checkout: Path) -> None:
    packed = apps.archive(App(**APP, requirements="locked.txt"), checkout)
    (checkout / "app" / "agents.py").touch()
    assert apps.archive(App(**APP, requirements="locked.txt"), checkout) == packed
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:xz") as tar:
        names = tar.getnames()
    assert names == ["app/agents.py", "app/broken.py", "app/locked.txt", "app/open.txt", "requirements.txt"]


def test_names_and_targets_are_checked() -> None:
    raw = {
        "apps": [APP, {**APP, "name": "smollm2"}],
        "aliases": [
            {"name": "mixed", "targets": [{"model": "agent"}, {"model": "smollm2"}]},
            {"name": "best", "targets": [{"model": "agent"}]},
        ],
        "assistants": [{"name": "a", "model": "agent", "prompt": "p"}, {"name": "b", "model": "best", "prompt": "p"}],
    }
    found = {m.key: m.problem for m in load(raw, frozenset(), "/secrets").mistakes}
    assert found["apps[1].name"] == "'smollm2' is already models[0].name"
    assert found["assistants[0].model"] == "there is no model or alias 'agent'"
    assert found["assistants[1].model"] == "there is no model or alias 'best'"
    raw["apps"] = [APP]
    found = {m.key: m.problem for m in load(raw, frozenset(), "/secrets").mistakes}
    assert found["aliases[0].targets"] == "mixes apps and models, which take different requests"


def test_an_app_counts_where_models_do(checkout: Path) -> None:
    config = StackConfig(apps=(App(**APP, requirements="locked.txt", cpus=3, replicas=2, memory_bytes=10**9),))
    before = StackConfig()
    assert preflight.cpus_needed(config) == pytest.approx(preflight.cpus_needed(before) - 0.8 + 6 + 6)
    assert preflight.memory_needed(config) == preflight.memory_needed(before) + 2 * 10**9
    assert any(rule["ports"][0]["port"] == 443 for rule in _models(config)), "its packages are fetched"


def test_an_app_has_its_objectives_like_a_model(checkout: Path) -> None:
    slow = Objectives(end_to_end_s=300)
    config = StackConfig(apps=(App(**APP, objectives=slow), App(**{**APP, "name": "other"})))
    assert [each.objectives for each in apps.models(config, checkout)] == [slow, None]


def test_its_replicas_have_its_source_and_the_gateway_has_not(checkout: Path) -> None:
    config = StackConfig(apps=(App(**APP, tools=("calculator",)),))
    catalog = application.catalog(config, checkout)
    document = serve_document(CONFIG, catalog, host="127.0.0.1", port=8080)
    gateway, *hosted = document["applications"]
    [told] = [m for m in gateway["deployments"][0]["user_config"]["models"] if m["engine"] == "app"]
    assert "archive" not in told
    assert told["tools"] == ["calculator"]
    [own] = [a for a in hosted if a["name"] == "model-agent"]
    assert AppModel.model_validate(own["args"]["model"]).archive
    assert "tools" not in own["args"]["model"]
    assert own["deployments"][0]["max_ongoing_requests"] == 16
