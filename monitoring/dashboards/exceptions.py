"""Where our dashboards differ from the linter's rules, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from monitoring.dashboards.links import selected
from monitoring.dashboards.panel import Dashboard, Panel
from monitoring.rule import Group, Recording

RULES = ("target-job-rule", "target-instance-rule")
REASON = "What Prometheus makes itself, recorded series and ALERTS, is added up over targets and has no such label."


@dataclass(frozen=True, slots=True)
class Exempt:
    """A panel that `rule` does not hold for; both are titles, as the linter names them."""

    rule: str
    dashboard: str
    panel: str


def exempt(dashboards: Iterable[Dashboard], groups: Iterable[Group]) -> tuple[Exempt, ...]:
    """Panels that read nothing that was scraped."""
    rules = [rule for group in groups for rule in group.rules]
    made = {"ALERTS", *(rule.name for rule in rules if isinstance(rule, Recording))}
    return tuple(
        Exempt(rule, dashboard.title, panel.title)
        for rule in RULES
        for dashboard in dashboards
        for panel in dashboard.panels
        if _read(panel) <= made
    )


def lint_file(exceptions: Iterable[Exempt]) -> dict[str, Any]:
    """The `.lint` file of grafana/dashboard-linter, which lies beside the dashboards."""
    found: dict[str, Any] = {}
    for one in exceptions:
        rule = found.setdefault(one.rule, {"reason": REASON, "entries": []})
        rule["entries"].append({"dashboard": one.dashboard, "panel": one.panel})
    return {"exclusions": found}


def _read(panel: Panel) -> set[str]:
    return {name for target in panel.targets for name in selected(target.expression)}
