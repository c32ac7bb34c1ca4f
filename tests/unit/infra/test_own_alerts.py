"""A mistake in an alert or objective of a stack's own is named by its field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra import chart
from infra.alerts.rules import groups
from infra.config import StackConfig
from infra.config_loader import load

CASE = {"after": "10m", "samples": {'headrace_engine_up{model="a"}': "0x20"}}
ALERT = {
    "name": "Mine",
    "expression": "headrace_engine_up == 0",
    "severity": "page",
    "owner": "models",
    "summary": "{{ $labels.model }} is away",
    "description": "It is away.",
    "runbook": "https://wiki.example.com/mine",
    "fires": CASE,
    "silent": {**CASE, "samples": {'headrace_engine_up{model="a"}': "1x20"}},
}
OBJECTIVE = {
    "name": "mine",
    "promise": "Streams end well.",
    "owner": "models",
    "good": ['headrace_streams_total{outcome="ok"}'],
    "all": ["headrace_streams_total"],
    "share": 0.99,
    "per": ["model"],
    "runbook": "https://wiki.example.com/streams",
    "example": {
        "good": 'headrace_streams_total{model="m",outcome="ok"}',
        "bad": 'headrace_streams_total{model="m",outcome="error"}',
    },
}


def said(**settings: Any) -> list[tuple[str, str]]:
    return [(each.key, each.fix) for each in load(settings, frozenset(), Path()).mistakes]


def test_correct_ones_are_taken():
    assert said(alerts=[ALERT], objectives=[OBJECTIVE]) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "GcsDown", "must differ from Headrace's alert GcsDown"),
        ("expression", "sum(", "must be PromQL over existing series: it does not parse"),
        ("expression", "headrace_none > 0", "there is no series headrace_none"),
        ("expression", 'headrace_engine_up{colour="red"} == 0', "there is no label colour"),
        ("expression", "rate(headrace_engine_up[5m]) == 0", "headrace_engine_up is a gauge, not a counter"),
        ("dashboard", "mine", "must be one of overview, "),
        ("wait", "soon", ""),
        ("severity", "loud", ""),
        ("runbook", "docs/mine.md", ""),
        ("summary", "two\nlines", ""),
        ("fires", {**CASE, "samples": {"headrace_engine_up": "1to3"}}, "must have values in promtool's notation"),
        ("silent", {**CASE, "samples": {"headrace_none": "1"}}, "there is no series headrace_none"),
    ],
)
def test_a_wrong_field_of_an_alert_is_named(field, value, message):
    [(key, fix)] = said(alerts=[{**ALERT, field: value}])
    assert key.startswith(f"alerts[0].{field}")
    assert message in fix


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "availability", "must differ from Headrace's objective availability"),
        ("good", ["rate(headrace_streams_total[5m])"], "must be a selector of a counter"),
        ("all", ["headrace_engine_up"], "headrace_engine_up is a gauge, not a counter"),
        ("share", 0.9, "must have a share above 0.9306"),
        ("per", ["tenant"], "there is no label tenant"),
    ],
)
def test_a_wrong_field_of_an_objective_is_named(field, value, message):
    (key, fix), *_ = said(objectives=[{**OBJECTIVE, field: value}])
    assert key.startswith("objectives[0]")
    assert message in fix


@pytest.mark.parametrize(("setting", "one"), [("alerts", ALERT), ("objectives", OBJECTIVE)])
def test_a_name_is_used_once(setting, one):
    [(key, fix)] = said(**{setting: [one, one]})
    assert key == setting
    assert f"must not have {one['name']} twice" in fix


def test_the_chart_gets_the_rules_of_the_stacks_namespace(tmp_path):
    config = StackConfig.model_validate(
        {
            "target": "kubeconfig",
            "knowledge": [],
            "alerts": [ALERT],
            "objectives": [OBJECTIVE],
            "kubernetes": {"namespace": "blue"},
        }
    )
    given = chart.values(config, "secret", tmp_path, {})["monitoring"]["rules"]["own"]
    assert [group["name"] for group in given] == [group.name for group in groups(config.alerts, config.objectives)]
    [alert] = given[-1]["rules"]
    assert alert["expr"] == 'headrace_engine_up{namespace="blue"} == 0'
    assert alert["labels"]["namespace"] == "blue"
    assert alert["annotations"]["runbook_url"] == ALERT["runbook"]
