"""Rule files for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from monitoring.rule import Alert, Group, Recording

RUNBOOKS = "monitoring/runbooks"
"""The runbooks' folder in the repository, for which a URL may be substituted."""


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
