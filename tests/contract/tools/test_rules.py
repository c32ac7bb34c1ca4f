"""A stack's own alerts and objectives, from its file to promtool and to its Prometheus: those of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from infra.alerts import rules as own_rules
from infra.config_loader import load
from infra.layout import CHECKOUT
from monitoring import rules_file
from monitoring.groups import GROUPS
from monitoring.scope import Scope, restrict_groups
from tests.contract.monitoring import promtool
from tools import plan, rules

PAGE = (CHECKOUT / "docs" / "how-to" / "alert-on-your-own.md").read_text()
SETTINGS = {
    key: value
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    for key, value in yaml.safe_load(text)["config"].items()
}
NAMES = {"DocsUnasked", "DocsAnswersBudgetBurn", "DocsAnswersBudgetSlowBurn"}


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a stack's file with other cases of its alert than those of the documentation."""
    monkeypatch.setattr(plan, "CHECKOUT", tmp_path)

    def write(**changed: object) -> str:
        [alert] = SETTINGS["headrace:alerts"]
        settings = {**SETTINGS, "headrace:alerts": [{**alert, **changed}]}
        (tmp_path / "Pulumi.own.yaml").write_text(yaml.safe_dump({"config": settings}))
        return "--stack=own"

    return write


def groups():
    config = load({key.partition(":")[2]: value for key, value in SETTINGS.items()}, frozenset(), CHECKOUT).config
    return own_rules.groups(config.alerts, config.objectives)


def test_the_documented_alerts_do_what_their_cases_say(stack, capsys):
    assert rules.main([stack()]) == 0
    assert capsys.readouterr().out == "3 alerts of the stack own fire when they should and not else\n"


def test_an_alert_that_does_otherwise_is_named(stack, capsys):
    [alert] = SETTINGS["headrace:alerts"]
    assert rules.main([stack(fires=alert["silent"])]) == 1
    said = capsys.readouterr().err
    assert "promtool test rules" in said
    assert "DocsUnasked" in said


def test_a_mistake_is_named_by_its_field(stack, capsys):
    assert rules.main([stack(expression="rate(headrace_unheard_of[5m]) > 0")]) == 1
    said = capsys.readouterr().err
    assert "headrace:alerts[0].expression" in said
    assert "there is no series headrace_unheard_of" in said


def test_own_rules_stand_beside_those_of_headrace(tmp_path):
    """One file for Prometheus, whose names differ; each own alert links to its own runbook."""
    every = (*GROUPS, *groups())
    promtool.check(tmp_path, every)
    found = [rule for group in rules_file.document(every)["groups"] for rule in group["rules"] if "alert" in rule]
    mine = {rule["alert"]: rule["annotations"] for rule in found if rule["alert"] in NAMES}
    assert mine.keys() == NAMES
    assert {each["runbook_url"].removeprefix("https://wiki.example.com/") for each in mine.values()} == {
        "docs-unasked",
        "docs-answers",
    }


def test_rules_of_one_stack_read_its_own_series(tmp_path):
    own = groups()
    scoped = restrict_groups(own, Scope.for_namespace("blue"), own_rules.known(own))
    for group in scoped:
        for rule in group.rules:
            selectors = re.findall(r"\b(?:headrace_\w+|assistant:\w+:\w+)(\{[^}]*\})?", rule.expression)
            assert selectors
            assert all('namespace="blue"' in each for each in selectors), rule.expression
    promtool.check(tmp_path, scoped)
