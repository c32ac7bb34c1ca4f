"""`make plan`: a table from a stack's file alone."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from infra.layout import CHECKOUT
from tools import plan
from tools.report import ToolError


@pytest.mark.parametrize("cloud", ["aws", "gcp", "azure"])
def test_each_example_has_a_plan(cloud: str) -> None:
    lines = plan.plan(cloud).splitlines()
    own = ["system"] if cloud == "azure" else []
    total = next(i for i, line in enumerate(lines) if line.startswith("Total: "))
    assert [line.split()[0] for line in lines[1:total]] == [*own, "cpu", "gpu"]
    assert any(line.startswith("  fits") for line in lines)
    assert lines[-3].startswith("An upgrade of pods ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "Pulumi.mine.yaml does not exist"),
        ("", "has no `config:`"),
        ("config: [", "has no `config:`"),
        ("config: {headrace:target: local}", "target local creates no nodes"),
        ("config: {headrace:target: aws}", "headrace:aws.account: is missing"),
        ("config: {headrace:target: aws, headrace:aws: {secure: AAAA}}", "headrace:aws: "),
    ],
)
def test_a_stack_without_a_plan_is_explained(
    content: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "CHECKOUT", tmp_path)
    if content is not None:
        (tmp_path / "Pulumi.mine.yaml").write_text(content)
    with pytest.raises(ToolError) as raised:
        plan.plan("mine")
    assert expected in str(raised.value)


def test_encrypted_settings_stay_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (CHECKOUT / "Pulumi.aws.yaml").read_text()
    remote = "    - {name: r, engine: remote, url: 'https://m.example.com/v1', api_key: {secure: AAAA}}\n"
    monkeypatch.setattr(plan, "CHECKOUT", tmp_path)
    (tmp_path / "Pulumi.mine.yaml").write_text(example.replace("  headrace:models:\n", f"  headrace:models:\n{remote}"))
    assert "Total:" in plan.plan("mine")


def test_yaml_1_1_booleans_are_strings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (CHECKOUT / "Pulumi.aws.yaml").read_text()
    added = "config:\n  headrace:guardrails: [{check: secrets, on: [output]}]\n  headrace:addons: {kserve: off}\n"
    monkeypatch.setattr(plan, "CHECKOUT", tmp_path)
    (tmp_path / "Pulumi.mine.yaml").write_text(example.replace("config:\n", added, 1))
    assert plan.settings("mine")["addons"] == {"kserve": "off"}
    assert "Total:" in plan.plan("mine")


def test_errors_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = httpx.MockTransport(lambda request: httpx.Response(503))
    assert plan.main(["--stack", "no-such"]) == 1
    assert "Pulumi.no-such.yaml does not exist" in capsys.readouterr().err
    assert plan.main(["--stack", "aws"], nothing) == 0
    said = capsys.readouterr()
    assert "Total:" in said.out
    assert "headrace:image: registry.example.com answers with status 503" in said.err


def test_sources_that_are_not_there_fail_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = httpx.MockTransport(lambda request: httpx.Response(404))
    assert plan.main(["--stack", "aws"], nothing) == 1
    said = capsys.readouterr()
    assert "Total:" in said.out
    assert "headrace:image: names registry.example.com/headrace/serving@sha256:000" in said.err
    assert "headrace:pools[1].image: names registry.example.com/headrace/vllm@sha256:111" in said.err
    assert "headrace:models[0].source: its token is known to the pods alone" in said.err
