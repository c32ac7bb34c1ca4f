"""A new stack is asked before it is complete; what follows, in which order, and what is said if it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.targets import later
from tools.stack import verbs
from tools.stack.workspace import Workspace

OUTPUTS = {"url": "http://127.0.0.1:8080", "api_key": "hr_x", "prometheus_url": "", "dashboards": {}}
FIRST = f"{later.DOCUMENTS},{later.PROMETHEUS}"


class NewStack:
    """A stack whose runs of Pulumi are recorded by what they leave for later; `fails` is a run that fails."""

    def __init__(self, fails: int | None = None) -> None:
        self.stack, self.target, self.is_new = "local", "local", True
        self.layout = SimpleNamespace(record=str, secrets="")
        self.happened: list[str] = []
        self._fails = fails

    def locked(self) -> Any:
        return nullcontext()

    def pulumi(self, *arguments: str, lock: object, variables: Mapping[str, str]) -> int:
        del lock
        self.happened.append(variables.get(later.VARIABLE, "nothing left"))
        assert ("--suppress-outputs" in arguments) == (len(self.happened) > 1)
        return int(len(self.happened) - 1 == self._fails)

    def outputs(self) -> dict[str, object]:
        return dict(OUTPUTS)

    def settings(self) -> dict[str, object]:
        return {}


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Brings a `NewStack` up and returns the status; `cached` says whether Prometheus is there."""

    def run(stack: NewStack, *, cached: bool, arguments: Sequence[str] = ()) -> int:
        def obtained(name: str) -> NewStack:
            stack.happened.append("Prometheus is obtained")
            return stack

        monkeypatch.setattr(verbs.choose_model, "choose", lambda workspace: None)
        monkeypatch.setattr(verbs, "Session", lambda record: SimpleNamespace(alive=False))
        monkeypatch.setattr(verbs, "load", lambda *arguments: SimpleNamespace(config=SimpleNamespace(knowledge=())))
        monkeypatch.setattr(verbs, "record_checks", lambda *arguments: None)
        monkeypatch.setattr(verbs, "sign_in_link", lambda url, key: None)
        monkeypatch.setattr(verbs, "_ask_first_question", lambda url, key: stack.happened.append("answer"))
        monkeypatch.setattr(verbs.find, "find", lambda kit: object() if cached else None)
        monkeypatch.setattr(verbs.Workspace, "prepare", obtained)
        workspace: Any = stack
        return verbs.up(workspace, arguments)

    return run


def test_the_answer_comes_before_prometheus_and_the_other_documents(
    up: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = NewStack()
    assert up(stack, cached=True) == 0
    assert stack.happened == [FIRST, "answer", "Prometheus is obtained", "nothing left"]
    said = capsys.readouterr().out
    assert said.index("API  ") < said.index("follow now") < said.index("The stack is complete")


def test_documents_do_not_wait_until_prometheus_is_built(up: Any) -> None:
    stack = NewStack()
    assert up(stack, cached=False) == 0
    assert stack.happened == [FIRST, "answer", later.PROMETHEUS, "Prometheus is obtained", "nothing left"]


@pytest.mark.parametrize("cached", [True, False])
def test_a_stack_that_cannot_be_completed_says_so(up: Any, capsys: pytest.CaptureFixture[str], cached: bool) -> None:
    stack = NewStack(fails=3 if cached else 2)
    assert up(stack, cached=cached) == 1
    said = capsys.readouterr()
    assert "it is not complete; `make up` continues from here" in said.err
    assert "The stack is complete" not in said.out


def test_a_stack_is_new_until_it_has_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "own_settings", tmp_path / "Pulumi.x.yaml")
    (tmp_path / "Pulumi.x.yaml").write_text(f"config:\n  headrace:state: {tmp_path}/state\n")
    workspace = Workspace("x", {})
    assert workspace.is_new
    (tmp_path / "state" / "data").mkdir(parents=True)
    assert not workspace.is_new
    (tmp_path / "Pulumi.y.yaml").write_text("config:\n  headrace:target: kubeconfig\n")
    monkeypatch.setattr(Workspace, "own_settings", tmp_path / "Pulumi.y.yaml")
    assert not workspace.is_new, "a cluster has no folder on this host"
