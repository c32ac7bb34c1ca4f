"""Every alert is shown to fire: on a running stack by tests/stack, and here by what no stack of the tests can do."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from monitoring import alert_evidence, alerts
from monitoring.burn_rate import Clock
from monitoring.rules_file import document
from tests.contract.monitoring import promtool
from tests.monitoring import scaled_rules
from tests.unit.monitoring.samples_of import FILES, families
from tools import docs

ALERTS = {rule.name: rule for group in alerts.GROUPS for rule in group.rules}
STACK = Path(__file__).parents[2] / "stack"
PACE = 6
"""How much faster the clock of promtool's tests runs here: samples are 5 s apart, and no window gets too short."""
STEEPER = frozenset({"DataDiskFilling"})
"""Alerts over a slope per second, which a faster clock makes steeper: they fire earlier, and are not silent."""


def unquoted(text):
    return dict(re.findall(r'(\w+)="([^"]*)"', text))


def recorded():
    """The labels of the first sample of each series in the recorded expositions."""
    found = {}
    for file in FILES:
        for family in families(file):
            for sample in family.samples:
                found.setdefault(sample.name, dict(sample.labels))
    return found


def case(alert, case, labels=None):
    """A test for promtool of an alert on the faster clock; `labels` by series replace those of the case."""
    series = []
    for sample in case.samples:
        name, _, own = sample.series.partition("{")
        every = unquoted(own) if labels is None else labels[name] | unquoted(own)
        inner = ",".join(f'{k}="{v}"' for k, v in sorted(every.items()))
        series.append({"series": f"{name}{{{inner}}}", "values": sample.values})
    firing = f'count(ALERTS{{alertname="{alert.name}",alertstate="firing"}}) > bool 0'
    asked = {
        "expr": firing,
        "eval_time": Clock(PACE)(case.after, 0),
        "exp_samples": [{"labels": "{}", "value": 1}] if case is alert.fires else [],
    }
    return {"interval": f"{30 // PACE}s", "input_series": series, "promql_expr_test": [asked]}


def judge(folder, tests):
    """Runs the tests of each alert over its own rule file, on the faster clock."""
    files = []
    for group in scaled_rules.scaled_groups(PACE):
        for rule in group.rules:
            if rule.name not in tests:
                continue
            alone = [replace(group, rules=(rule,))]
            (folder / f"{rule.name}.yaml").write_text(yaml.safe_dump(document(alone)))
            plan = {"rule_files": [f"{rule.name}.yaml"], "evaluation_interval": "5s", "tests": tests[rule.name]}
            (folder / f"{rule.name}.test.yaml").write_text(yaml.safe_dump(plan))
            files.append(f"{rule.name}.test.yaml")
    assert len(files) == len(tests)
    promtool.content(folder, "test", "rules", *files)


def test_long_windows_fire_and_are_silent_on_a_faster_clock(tmp_path):
    long = [alert for alert in ALERTS.values() if alert_evidence.looks_back_long(alert)]
    assert len(long) > 15
    judge(
        tmp_path,
        {
            alert.name: [case(alert, one) for one in (alert.fires, alert.silent)[: 1 if alert.name in STEEPER else 2]]
            for alert in long
        },
    )


def test_recorded_expositions_with_the_fault_in_them_fire(tmp_path):
    labels = recorded()
    replayed = [alert for alert in ALERTS.values() if alert_evidence.is_replayed(alert)]
    gpus = next(group for group in alerts.GROUPS if group.name == "alerts-gpus")
    assert {rule.name for rule in gpus.rules} <= {alert.name for alert in replayed}
    judge(tmp_path, {alert.name: [case(alert, alert.fires, labels)] for alert in replayed})


@pytest.mark.parametrize("fault", alert_evidence.INJECTED)
def test_every_injected_fault_has_a_stack_test(fault):
    names = alert_evidence.INJECTED[fault]
    assert set(names) <= ALERTS.keys()
    assert list(names) == sorted(set(names))
    assert any(f'INJECTED["{fault}"]' in file.read_text() for file in STACK.glob("*.py"))


def test_each_class_of_faults_is_injected():
    injected = {name for names in alert_evidence.INJECTED.values() for name in names}
    told = {alert for names in alert_evidence.CLASSES.values() for alert in names}
    assert told <= ALERTS.keys() & injected


def test_the_reference_lists_the_evidence_of_each_alert():
    page = (docs.FOLDER / "alerts.md").read_text()
    for alert in ALERTS.values():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{alert.name}` |") and "[runbook]" in line]
        assert row.endswith(f" | {alert_evidence.evidence(alert)} |")
