"""The model that `make up MODEL=...` chooses: where it stands in the settings, and what is refused beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.config_loader import load
from infra.layout import CHECKOUT
from tools.report import ToolError
from tools.stack import choose_model, model_choice, workspace
from tools.stack.choose_model import Request, check, choose
from tools.stack.model_list import MODELS, fitting, table
from tools.stack.workspace import Workspace

QWEN: dict[str, Any] = {"name": "qwen2.5-1.5b", "engine": "llamacpp", "source": "file:///m.gguf", "memory_bytes": 1}
DEFAULTS = model_choice.project_defaults()
PERMISSIVE = {"Apache-2.0", "MIT"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, with Headrace's project."""
    home = tmp_path / ".headrace"
    home.mkdir()
    (tmp_path / "Pulumi.yaml").write_text((CHECKOUT / "Pulumi.yaml").read_text())
    for module in (workspace, model_choice):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    for module in (workspace, choose_model):
        monkeypatch.setattr(module, "HOME", home)
    monkeypatch.setattr(choose_model, "PINS", home / "models.json")
    return home


def settings(merged: dict[str, Any]) -> dict[str, Any]:
    return {name.partition(":")[2]: model_choice.plain(value) for name, value in merged.items()}


# Where the choice stands in the settings


@pytest.mark.parametrize("own", [{}, yaml.safe_load((CHECKOUT / "Pulumi.local.yaml").read_text())["config"]])
def test_the_default_stack_answers_by_the_chosen_model(own: dict[str, Any]) -> None:
    merged = model_choice.merged(own, DEFAULTS, QWEN)
    loaded = load(settings({**DEFAULTS, **merged}), frozenset(), "/secrets")
    assert loaded.mistakes == []
    (model,) = loaded.config.models
    (docs,) = loaded.config.assistants
    assert (model.name, docs.model, docs.unsupported) == ("qwen2.5-1.5b", "qwen2.5-1.5b", None)
    assert model.answers_from_passages


def test_only_the_packaged_model_is_replaced_and_every_name_of_it() -> None:
    own = {
        "headrace:models": [
            {"name": "big", "engine": "remote", "url": "https://h/v1", "api_key": {"secure": "v1:x"}},
            {"name": "words", "source": "package://m/e.gguf", "task": "embed", "embedding": {"dimensions": 8}},
            {"name": "tiny", "source": "package://m/x.gguf"},
        ],
        "headrace:aliases": [
            {"name": "a", "targets": [{"model": "tiny", "weight": 2}, {"model": "big"}]},
            {"name": "b", "managed": {"base": "tiny", "pin": "tiny", "max_hours": 2}},
        ],
        "headrace:assistants": [{"name": "one", "model": "tiny", "prompt": "tiny"}, {"name": "two", "model": "big"}],
        "headrace:capture": "none",
    }
    before = yaml.safe_dump(own)
    merged = model_choice.merged(own, DEFAULTS, QWEN)
    assert merged["headrace:models"] == [*own["headrace:models"][:2], QWEN]
    assert merged["headrace:aliases"] == [
        {"name": "a", "targets": [{"model": "qwen2.5-1.5b", "weight": 2}, {"model": "big"}]},
        {"name": "b", "managed": {"base": "qwen2.5-1.5b", "pin": "qwen2.5-1.5b", "max_hours": 2}},
    ]
    assert merged["headrace:assistants"] == [
        {"name": "one", "model": "qwen2.5-1.5b", "prompt": "tiny"},
        {"name": "two", "model": "big"},
    ]
    assert merged["headrace:capture"] == "none"
    assert model_choice.models_beside(own, DEFAULTS) == own["headrace:models"][:2]
    assert yaml.safe_dump(own) == before


def test_pulumi_reads_the_choice_beside_the_salt_and_the_stacks_file_stays(home: Path) -> None:
    own = home.parent / "Pulumi.mine.yaml"
    own.write_text("# ours\nconfig:\n  headrace:capture: none\n")
    (home / "mine").mkdir()
    (home / "mine/encryptionsalt").write_text("encryptionsalt: v1:abc\n")
    stack = Workspace("mine", {})
    model_choice.write(home / "mine", QWEN)
    copy = stack._settings_copy()
    assert copy is not None
    read = yaml.safe_load(copy.read_text())
    assert read["encryptionsalt"] == "v1:abc"
    assert read["config"]["headrace:models"] == [QWEN]
    assert read["config"]["headrace:capture"] == "none"
    assert own.read_text() == "# ours\nconfig:\n  headrace:capture: none\n"

    own.write_text("encryptionsalt: v1:def\n")  # a file with a salt of its own
    assert yaml.safe_load((stack._settings_copy() or Path()).read_text())["encryptionsalt"] == "v1:def"
    model_choice.forget(home / "mine")
    assert stack._settings_copy() is None


def test_a_choice_without_a_place_is_not_used(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "config:\n  headrace:models: [{name: own, engine: remote, url: 'https://h/v1'}]\n"
    model_choice.write(home / "mine", QWEN)
    assert model_choice.merged_text(text, home / "mine") == text
    assert (
        "warning: the chosen model qwen2.5-1.5b is not used: MODEL=... replaces a packaged model"
        in capsys.readouterr().err
    )


def test_a_damaged_choice_says_how_to_delete_it(home: Path) -> None:
    (home / "mine").mkdir()
    (home / "mine/model.yaml").write_text("- 1\n")
    with pytest.raises(ToolError, match="is damaged; `make up MODEL=default` deletes it"):
        model_choice.chosen_model(home / "mine")
    choose(Workspace("mine", {"HEADRACE_MODEL": "default"}))
    assert model_choice.chosen_model(home / "mine") is None


# The list


def test_the_list_has_permissive_models_from_small_to_large() -> None:
    assert {model.licence for model in MODELS} <= PERMISSIVE
    assert [m.memory_bytes for m in MODELS] == sorted(m.memory_bytes for m in MODELS)
    # 1.117 GB of weights, and 28 layers x 2 heads x 128 numbers of 2 bytes, twice, for 8192 tokens
    qwen = next(model for model in MODELS if model.name == "qwen2.5-1.5b")
    assert qwen.memory_bytes == 1_117_320_736 + 234_881_024 + 400_000_000


def test_the_list_says_what_fits() -> None:
    limit = MODELS[2].memory_bytes
    assert fitting(limit) == [model.name for model in MODELS[:3]]
    assert fitting(limit - 1) == [model.name for model in MODELS[:2]]
    lines = table(limit).splitlines()
    assert lines[3].split() == ["qwen2.5-1.5b", "1.5B", "1.1", "GB", "1.8", "GB", "Apache-2.0", "yes"]
    assert lines[4].endswith("no")
    assert "A model may use 1.8 GB here." in lines[-2]
    assert "A model may use 0.0 GB here." in table(-5e9)


# What is refused beforehand


def test_the_list_is_printed_for_a_question_mark(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for asked in ("?", "list"):
        assert not check(Workspace("mine", {}), Request(asked, "", ""))
        assert capsys.readouterr().out.startswith("NAME ")


def test_an_unknown_name_shows_the_list(home: Path) -> None:
    with pytest.raises(ToolError, match=r"(?s)there is no model 'llama'; choose one of these.*granite-3.3-8b "):
        check(Workspace("mine", {}), Request("llama", "", ""))


def test_too_little_memory_names_what_fits(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose_model, "available_bytes", lambda _: 2e9)
    with pytest.raises(ToolError) as raised:
        check(Workspace("mine", {}), Request("granite-3.3-8b", "", ""))
    assert str(raised.value) == (
        "granite-3.3-8b needs 6.7 GB of memory beside the rest of the stack, and 2.0 GB are left; what fits:"
        " qwen2.5-0.5b, qwen2.5-coder-0.5b, qwen2.5-1.5b, qwen2.5-coder-1.5b"
    )
    assert check(Workspace("mine", {}), Request("qwen2.5-1.5b", "", ""))


def test_memory_counts_the_rest_of_the_stack_without_the_packaged_model(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Memory:
        available = 10_000_000_000

    monkeypatch.setattr(choose_model.psutil, "virtual_memory", lambda: Memory)
    stack = Workspace("mine", {})
    rest = 1_200_000_000 + 100_000_000
    assert choose_model.available_bytes(stack) == 10_000_000_000 - rest
    (home.parent / "Pulumi.mine.yaml").write_text(
        yaml.safe_dump(
            {
                "config": {
                    "headrace:models": [
                        {"name": "tiny", "engine": "llamacpp", "source": "package://m/x.gguf", "memory_bytes": 7},
                        {"name": "far", "engine": "remote", "url": "https://h/v1", "api_key": {"secure": "v1:x"}},
                        {
                            "name": "near",
                            "engine": "llamacpp",
                            "source": "file:///y.gguf",
                            "memory_bytes": 3_000_000_000,
                            "replicas": 2,
                        },
                    ]
                }
            }
        )
    )
    assert choose_model.available_bytes(stack) == 10_000_000_000 - rest - 6_000_000_000


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Request("qwen2.5-0.5b", "k", ""), "KEY and REMOTE_MODEL are for"),
        (Request("", "", "large"), "KEY and REMOTE_MODEL are for"),
        (Request("ftp://h/v1", "", ""), "there is no model 'ftp://h/v1'"),
    ],
)
def test_what_does_not_belong_together_is_refused(home: Path, request_: Request, error: str) -> None:
    with pytest.raises(ToolError, match=error):
        check(Workspace("mine", {}), request_)


def test_a_stack_on_a_cluster_has_its_models_in_its_settings(home: Path) -> None:
    (home.parent / "Pulumi.mine.yaml").write_text("config:\n  headrace:target: kubeconfig\n")
    assert check(Workspace("mine", {}), Request("", "", ""))
    with pytest.raises(ToolError, match="MODEL is for stacks on this host"):
        check(Workspace("mine", {}), Request("default", "", ""))


def test_a_stack_without_a_packaged_model_is_told_where_its_models_are(home: Path) -> None:
    (home.parent / "Pulumi.mine.yaml").write_text("config:\n  headrace:models: []\n")
    with pytest.raises(
        ToolError, match=r"replaces a packaged model, but the stack's settings have none; change its `headrace:models`"
    ):
        check(Workspace("mine", {}), Request("https://h/v1", "", ""))


# Later commands


def test_the_choice_is_kept_until_default(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model_choice.write(home / "mine", QWEN)
    choose(Workspace("mine", {}))
    assert "model: qwen2.5-1.5b, as chosen before; `make up MODEL=default` returns" in capsys.readouterr().err
    choose(Workspace("mine", {"HEADRACE_MODEL": "default"}))
    assert model_choice.chosen_model(home / "mine") is None
    assert capsys.readouterr().err == "model: the stack's own again\n"
    choose(Workspace("mine", {}))
    assert capsys.readouterr().err == ""


def test_no_process_of_the_stack_inherits_the_key(home: Path) -> None:
    inherited = {"HEADRACE_MODEL_KEY": "k", "KEY": "k", "MAKEFLAGS": "-- KEY=k", "PATH": "/bin"}
    choose(Workspace("mine", inherited))
    assert inherited == {"PATH": "/bin"}
