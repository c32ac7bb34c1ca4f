"""What `make up` prints of a stack: the page's link with its code, and never the key."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.pages import snippets
from tools.stack import model_list, question, verbs

URL = "http://127.0.0.1:8080"
KEY = "hr_secret"
OUTPUTS: dict[str, object] = {"url": URL, "api_key": KEY, "prometheus_url": "", "dashboards": {}}


def printed(capsys: pytest.CaptureFixture[str], link: str | None) -> list[str]:
    workspace: Any = cast(Any, SimpleNamespace(stack="local"))
    verbs._print_outputs(workspace, OUTPUTS, link)
    said = capsys.readouterr().out
    assert KEY not in said
    return said.splitlines()


def test_the_page_is_printed_with_its_link(capsys: pytest.CaptureFixture[str]) -> None:
    link = f"{URL}/#sign-in=abc"
    lines = printed(capsys, link)
    assert lines[1].split() == ["Page", link]
    assert "`make page` prints a new one" in lines[2]


def test_without_a_link_the_page_is_printed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, None)
    assert lines[1].split() == ["Page", f"{URL}/"]
    assert not any("make page" in line for line in lines)


def test_a_stack_that_makes_no_link_is_up_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failed(url: str, key: str) -> str:
        raise verbs.ToolError("the stack made no sign-in link: 429")

    workspace: Any = SimpleNamespace(
        stack="local",
        target="local",
        is_new=False,
        layout=SimpleNamespace(record=str, secrets=""),
        locked=nullcontext,
        pulumi=lambda *arguments, lock, variables: 0,
        outputs=lambda: OUTPUTS,
        settings=dict,
    )
    monkeypatch.setattr(verbs.choose_model, "choose", lambda workspace: None)
    monkeypatch.setattr(verbs, "Session", lambda record: SimpleNamespace(alive=True))
    monkeypatch.setattr(verbs, "load", lambda *arguments: SimpleNamespace(config=SimpleNamespace(knowledge=())))
    monkeypatch.setattr(verbs, "record_checks", lambda *arguments: None)
    monkeypatch.setattr(verbs, "sign_in_link", failed)
    monkeypatch.delenv("HEADRACE_QUESTION", raising=False)
    assert verbs.up(workspace, ()) == 0
    said = capsys.readouterr()
    assert f"Page         {URL}/\n" in said.out
    assert "made no sign-in link" in said.out + said.err


@pytest.mark.parametrize(
    ("link", "target", "said"), [(None, "local", "allows no link"), ("x", "kubeconfig", "on this host")]
)
def test_a_stack_without_links_says_so(
    monkeypatch: pytest.MonkeyPatch, link: str | None, target: str, said: str
) -> None:
    workspace: Any = SimpleNamespace(stack="local", target=target, outputs=lambda: OUTPUTS)
    monkeypatch.setattr(verbs, "sign_in_link", lambda url, key: link)
    with pytest.raises(verbs.ToolError, match=said):
        verbs.page(workspace, ())


def test_the_readme_shows_what_up_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """It shows no answer: the stack's own documentation includes it, so that its sample would be quoted as one."""
    lines = [line.strip() for line in printed(capsys, f"{URL}/#sign-in=…")]
    shown, models = [one.text.splitlines() for one in snippets.of("README.md") if one.language == "text"]
    assert len(shown) == 5
    assert [line for line in shown if line.strip() not in (*lines, "…")] == []
    assert question.QUESTION not in (snippets.ROOT / "README.md").read_text()
    listed = model_list.table(1e12).splitlines()
    assert [line for line in models if line not in (*listed, "…")] == []
