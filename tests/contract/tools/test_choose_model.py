"""`make up MODEL=...` up to Pulumi's settings: a hub and an endpoint on this host, and Pulumi's own encryption."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from infra.config_loader import load
from infra.layout import CHECKOUT
from serving.config import RemoteModel
from tests.servers.hub import REPOSITORY, hub_with
from tests.servers.listed_models import Endpoint, endpoint
from tools.binaries import find
from tools.report import ToolError
from tools.stack import backend, choose_model, model_choice, workspace
from tools.stack.__main__ import main
from tools.stack.choose_model import choose
from tools.stack.model_list import ListedModel
from tools.stack.workspace import Workspace

STACK = "mine"
SECRET = "sk-not-in-the-clear"
PULUMI = find.bin_dir(("pulumi",))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, with Headrace's project and local stack."""
    home = tmp_path / ".headrace"
    home.mkdir()
    for name, source in (("Pulumi.yaml", "Pulumi.yaml"), (f"Pulumi.{STACK}.yaml", "Pulumi.local.yaml")):
        (tmp_path / name).write_text((CHECKOUT / source).read_text())
    monkeypatch.setattr(find, "bin_dir", lambda _: PULUMI)
    monkeypatch.setitem(workspace.VARIABLES, "PULUMI_HOME", str(home / "pulumi-home"))
    for name in (backend.URL, *backend.PASSPHRASES):
        monkeypatch.delenv(name, raising=False)
    for module in (workspace, model_choice):
        monkeypatch.setattr(module, "CHECKOUT", tmp_path)
    for module in (backend, workspace, choose_model):
        monkeypatch.setattr(module, "HOME", home)
    for module in (backend, workspace):
        monkeypatch.setattr(module, "LOCAL", home / "pulumi")
    monkeypatch.setattr(workspace, "_STACKS", home / "pulumi/.pulumi/stacks/headrace")
    monkeypatch.setattr(choose_model, "PINS", home / "models.json")
    return home


@pytest.fixture
def stack() -> Workspace:
    return Workspace.prepare(STACK)


@pytest.fixture
def remote() -> Iterator[Endpoint]:
    with endpoint() as made:
        yield made


def ask(stack: Workspace, url: str, key: str = "", remote_model: str = "") -> None:
    names = (choose_model.MODEL, choose_model.KEY, choose_model.REMOTE_MODEL)
    stack.environment.update(zip(names, (url, key, remote_model), strict=True))
    choose(stack)


def test_a_listed_model_is_in_the_settings_that_pulumi_reads(
    stack: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = ListedModel("llama", "1B", REPOSITORY, "m.gguf", "MIT", 9, 1, 1, 1, context=2048, slots=1)
    monkeypatch.setattr(choose_model, "MODELS", (model,))
    with hub_with({"m.gguf": b"GGUF"}) as hub:
        stack.environment["HF_ENDPOINT"] = hub.url
        ask(stack, "llama")
    config = load(stack.settings(), frozenset(), "/secrets").config
    (chosen,) = config.models
    assert chosen.engine == "llamacpp"
    assert Path(chosen.source.removeprefix("file://")).read_bytes() == b"GGUF"
    assert chosen.sha256 is not None
    assert (chosen.name, chosen.context, chosen.slots, chosen.memory_bytes) == ("llama", 2048, 1, model.memory_bytes)
    assert [a.model for a in config.assistants] == ["llama"]
    assert chosen.answers_from_passages
    monkeypatch.setattr(choose_model, "MODELS", (replace(model, grounded=False),))
    ask(stack, "llama")
    assert not load(stack.settings(), frozenset(), "/secrets").config.models[0].answers_from_passages
    ask(stack, "default")
    assert [m.name for m in load(stack.settings(), frozenset(), "/secrets").config.models] == ["smollm2"]


def test_a_model_that_cannot_be_fetched_leaves_the_former_choice(
    stack: Workspace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = ListedModel("former", "1B", REPOSITORY, "m.gguf", "MIT", 9, 1, 1, 1)
    models = (
        former,
        replace(former, name="missing", file="none.gguf"),
        replace(former, name="changed", sha256="0" * 64),
        replace(former, name="damaged", file="d.gguf"),
    )
    monkeypatch.setattr(choose_model, "MODELS", models)
    with hub_with({"m.gguf": b"GGUF", "d.gguf": b"GGUF"}) as hub:
        hub.damaged = {"d.gguf": b"FUGG"}
        stack.environment["HF_ENDPOINT"] = hub.url
        ask(stack, "former")
        settings = stack.settings()
        for name, problem in (
            ("missing", "has no file none.gguf"),
            ("changed", "Headrace's list has 000"),
            ("damaged", "what was fetched is deleted"),
        ):
            with pytest.raises(ToolError, match=f"{name} cannot be fetched: .*{problem}"):
                ask(stack, name)
            assert (model_choice.chosen_model(home / STACK) or {})["name"] == "former"
    with pytest.raises(ToolError, match="cannot be reached"):
        ask(stack, "missing")
    assert stack.settings() == settings


def test_a_remote_model_and_its_key_which_is_nowhere_in_the_clear(
    stack: Workspace, remote: Endpoint, home: Path
) -> None:
    remote.key = SECRET
    ask(stack, f"{remote.url}/", SECRET)
    assert remote.received == [f"Bearer {SECRET}"]
    assert SECRET not in str(stack.environment)
    for file in home.parent.rglob("*"):
        assert not file.is_file() or SECRET.encode() not in file.read_bytes(), file
    loaded = load(stack.settings(), frozenset({"models"}), "/secrets")
    assert loaded.mistakes == []
    (model,) = loaded.config.models
    assert isinstance(model, RemoteModel)
    assert (model.name, model.model, model.url) == ("large_1", "acme/Large_1", remote.url)
    assert [secret.get_secret_value() for secret in loaded.secrets.values()] == [SECRET]


def test_one_of_several_remote_models_is_named(stack: Workspace, remote: Endpoint, home: Path) -> None:
    remote.models = ["a", "b"]
    with pytest.raises(ToolError, match=r"name the model by REMOTE_MODEL=...; it has a, b"):
        ask(stack, remote.url)
    assert model_choice.chosen_model(home / STACK) is None
    ask(stack, remote.url, remote_model="b")
    assert model_choice.chosen_model(home / STACK) == {"name": "b", "engine": "remote", "url": remote.url, "model": "b"}


def test_a_remote_model_that_is_not_listed(
    stack: Workspace, remote: Endpoint, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(stack, remote.url, remote_model="other")
    assert f"warning: {remote.url} does not list the model 'other'" in capsys.readouterr().err
    remote.status = 404
    with pytest.raises(ToolError, match=r"REMOTE_MODEL=...; it lists none"):
        ask(stack, remote.url)
    ask(stack, remote.url, remote_model="hidden")
    assert (model_choice.chosen_model(home / STACK) or {})["model"] == "hidden"


@pytest.mark.parametrize(
    ("key", "status", "body", "error"),
    [
        ("", 200, None, "needs a key: KEY=..."),
        ("sk-2", 200, None, "refuses the key"),
        (SECRET, 500, None, "/models answers with status 500; is this the URL with the version"),
        (SECRET, 200, b"<html>", "does not answer as OpenAI's API does"),
        (SECRET, 200, b'{"data": 1}', "does not answer as OpenAI's API does"),
    ],
)
def test_an_endpoint_that_does_not_answer_is_not_chosen(
    stack: Workspace, remote: Endpoint, home: Path, key: str, status: int, body: bytes | None, error: str
) -> None:
    remote.key, remote.status, remote.body = SECRET, status, body
    with pytest.raises(ToolError, match=error):
        ask(stack, remote.url, key)
    with pytest.raises(ToolError, match=r"127.0.0.1:9/v1 cannot be reached: "):
        ask(stack, "http://127.0.0.1:9/v1")
    assert model_choice.chosen_model(home / STACK) is None


def test_a_name_that_is_taken_is_refused_before_it_is_kept(stack: Workspace, remote: Endpoint, home: Path) -> None:
    remote.models = ["docs"]
    with pytest.raises(ToolError, match=r"headrace:.*'?docs'?"):
        ask(stack, remote.url)
    assert model_choice.chosen_model(home / STACK) is None


def test_the_command_lists_models_without_preparing_anything(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(find, "bin_dir", lambda _: pytest.fail("programs are obtained"))
    monkeypatch.setenv("HEADRACE_MODEL", "?")
    assert main(["--stack", STACK, "up"]) == 0
    assert "granite-3.3-8b" in capsys.readouterr().out
    monkeypatch.setenv("HEADRACE_MODEL", "nothing")
    assert main(["--stack", STACK, "up"]) == 1
    assert list(home.iterdir()) == []


def test_make_passes_on_the_command_line_alone() -> None:
    """A `KEY` of the shell is that of `make env`: it must not be sent to another host."""
    rule = 'probe: up\nup: ; @printf \'%s|%s|%s\' "$$HEADRACE_MODEL" "$$HEADRACE_MODEL_KEY" "$$HEADRACE_REMOTE_MODEL"'
    text = (CHECKOUT / "Makefile").read_text()
    block = text[text.index("ifeq ($(origin MODEL)") : text.index("up: $(RUN)")]

    def make(*arguments: str, **shell: str) -> str:
        return subprocess.run(
            ["make", "-s", "-f", "-", *arguments],
            input=f"{block}{rule}\n",
            env={"PATH": "/usr/bin:/bin", **shell},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert make("MODEL=https://h/v1", "KEY=a$b'c", "REMOTE_MODEL=m") == "https://h/v1|a$b'c|m"
    assert make("MODEL=?", KEY="hr-1", REMOTE_MODEL="m") == "?||"
    assert make("MODEL=x", HEADRACE_MODEL_KEY="of the shell") == "x|of the shell|"
    assert make(MODEL="x") == "||"


def test_settings_keep_their_values_beside_a_choice(stack: Workspace, remote: Endpoint, tmp_path: Path) -> None:
    own = tmp_path / f"Pulumi.{STACK}.yaml"
    document = yaml.safe_load(own.read_text())
    document["config"] |= {"headrace:state": "1e3", "headrace:ports": {"api": 8090}, "headrace:tuning": {"hours": 1.5}}
    own.write_text(yaml.safe_dump(document))
    before = {k: v for k, v in stack.settings().items() if k not in ("models", "assistants")}
    ask(stack, remote.url)
    after = stack.settings()
    assert {k: v for k, v in after.items() if k not in ("models", "assistants")} == before
    assert own.read_text() == yaml.safe_dump(document)
