"""The tests of alerts, as promtool runs them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monitoring.rule import Alert, Case, Group

STEP = "30s"
"""The interval between two samples of a test."""


def promtest(groups: Iterable[Group], rules: str = "rules.yaml") -> dict[str, Any]:
    """Returns a file for `promtool test rules`, with both cases of each alert; `rules` is the rule file's path."""
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
