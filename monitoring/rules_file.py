"""Rule files for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from monitoring.addresses import Addresses
from monitoring.rule import Alert, Group, Recording
from monitoring.runbook_text import meaning


def document(groups: Iterable[Group], addresses: Addresses | None = None) -> dict[str, Any]:
    """Returns a rule file, which is also the `spec` of a PrometheusRule; its alerts link to `addresses`."""
    to = addresses or Addresses()
    return {
        "groups": [
            {"name": group.name, "interval": group.interval, "rules": [_rule(rule, to) for rule in group.rules]}
            for group in groups
        ]
    }


def text(groups: Iterable[Group], addresses: Addresses | None = None) -> str:
    """Returns a rule file as YAML."""
    return yaml.dump(document(groups, addresses), Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def _rule(rule: Recording | Alert, to: Addresses) -> dict[str, Any]:
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
            "description": rule.description or f"{meaning(rule.name)} What to do: the runbook {rule.name}.",
            "dashboard": rule.dashboard,
            **({"dashboard_url": url} if (url := to.dashboard(rule.dashboard)) else {}),
            **({"runbook_url": url} if (url := rule.runbook or to.runbook(rule.name)) else {}),
        },
    }
