"""Rule files for Prometheus, and their tests for promtool."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from monitoring.rule import Alert, Case, Group, Recording

RUNBOOKS = "monitoring/runbooks"
"""The runbooks' folder in the repository, for which a URL may be substituted."""
STEP = "30s"
"""The interval between two samples of a test."""


def document(groups: Iterable[Group], runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """Returns a rule file, which is also the `spec` of a PrometheusRule; `runbooks` is the runbooks' base URL."""
    return {
        "groups": [
            {"name": group.name, "interval": group.interval, "rules": [_rule(rule, runbooks) for rule in group.rules]}
            for group in groups
        ]
    }


def text(groups: Iterable[Group], runbooks: str = RUNBOOKS) -> str:
    """Returns a rule file as YAML."""
    return yaml.dump(document(groups, runbooks), Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def promtest(groups: Iterable[Group], rules: str = "rules.yaml") -> dict[str, Any]:
    """Returns a file for `promtool test rules`, with both cases of each alert; `rules` is the rule file's path.

    Only tests call it. It is here because the cases belong to the alerts.
    """
    alerts = [rule for group in groups for rule in group.rules if isinstance(rule, Alert)]
    return {
        "rule_files": [rules],
        "evaluation_interval": STEP,
        "tests": [
            _test(alert, case, fires)
            for alert in alerts
            for case, fires in ((alert.fires, True), (alert.silent, False))
        ],
    }


def _rule(rule: Recording | Alert, runbooks: str) -> dict[str, Any]:
    if isinstance(rule, Recording):
        labels = {"labels": dict(rule.fixed)} if rule.fixed else {}
        return {"record": rule.name, "expr": rule.expression, **labels}
    return {
        "alert": rule.name,
        "expr": rule.expression,
        "for": rule.wait,
        "labels": {"severity": rule.severity, "owner": rule.owner, **rule.labels},
        "annotations": {
            "summary": rule.summary,
            "dashboard": rule.dashboard,
            "runbook_url": f"{runbooks}/{rule.name}.md",
        },
    }


def _test(alert: Alert, case: Case, fires: bool) -> dict[str, Any]:
    # Alerts of one name may differ in severity: this test is for one of them.
    firing = f'ALERTS{{alertname="{alert.name}",alertstate="firing",severity="{alert.severity}"}}'
    return {
        "name": f"{alert.name} ({alert.severity}) {'fires' if fires else 'is silent'}",
        "interval": STEP,
        "input_series": [{"series": sample.series, "values": sample.values} for sample in case.samples],
        "promql_expr_test": [
            {
                "expr": f"count({firing}) > bool 0",
                "eval_time": case.after,
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }
