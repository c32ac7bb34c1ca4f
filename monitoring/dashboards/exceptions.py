"""Exemptions of Headrace's dashboards from the linter's rules, and the reason for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from monitoring.dashboards.links import selected_series
from monitoring.dashboards.panel import Dashboard, Panel
from monitoring.rule import Group, Recording

RULES = ("target-job-rule", "target-instance-rule")
REASON = "Recorded series and ALERTS are aggregated over targets by Prometheus and do not have this label."


@dataclass(frozen=True, slots=True)
class LintExemption:
    """A panel that is exempt from `rule`; dashboard and panel are titles, as the linter names them."""

    rule: str
    dashboard: str
    panel: str


def lint_exemptions(dashboards: Iterable[Dashboard], groups: Iterable[Group]) -> tuple[LintExemption, ...]:
    """Returns an exemption for each panel that reads only series made by Prometheus itself."""
    rules = [rule for group in groups for rule in group.rules]
    made = {"ALERTS", *(rule.name for rule in rules if isinstance(rule, Recording))}
    return tuple(
        LintExemption(rule, dashboard.title, panel.title)
        for rule in RULES
        for dashboard in dashboards
        for panel in dashboard.panels
        if _read_series(panel) <= made
    )


def lint_file(exceptions: Iterable[LintExemption]) -> dict[str, Any]:
    """Returns the `.lint` file for grafana/dashboard-linter, which goes beside the dashboards."""
    found: dict[str, Any] = {}
    for one in exceptions:
        rule = found.setdefault(one.rule, {"reason": REASON, "entries": []})
        rule["entries"].append({"dashboard": one.dashboard, "panel": one.panel})
    return {"exclusions": found}


def _read_series(panel: Panel) -> set[str]:
    return {name for target in panel.targets for name in selected_series(target.expression)}
