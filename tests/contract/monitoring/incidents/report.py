"""The page of the documentation that lists the incidents."""

from __future__ import annotations

from pathlib import Path

from tests.contract.monitoring.incidents.incident import INCIDENTS, Incident
from tests.contract.monitoring.incidents.links import MOST

PAGE = Path(__file__).parents[4] / "docs" / "explanation" / "incidents.md"
COMMAND = ".venv/bin/python -m tests.contract.monitoring.incidents"


def page() -> str:
    """Returns the page."""
    lines = [
        "# Do alerts, panels and runbooks name the cause?",
        "",
        f"`{COMMAND}` injects the incidents of this page into two gateways with the usual traffic of four tenants.",
        "A real Prometheus watches, with all rules on a clock 120 times as fast.",
        "For each incident, the alert is silent before, then fires, and its labels name whom or what it is about and "
        "nobody else.",
        "No other alert of this page, and none that wakes somebody and names another cause, fires first; alerts of "
        "objectives tell effects, and may.",
        "In the panel, the cause's series is the highest.",
        "The runbook has the cause among its likely causes.",
        f"From the dashboard `overview`, at most {MOST} links lead to the panel and to the runbook, as counted in the "
        "links of the dashboards, alerts and runbooks.",
        "",
        "| incident | what happens | alert | its labels | panel | series | links |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(_row, INCIDENTS),
    ]
    return "\n".join(lines) + "\n"


def _row(each: Incident) -> str:
    runbook = f"[`{each.alert}`](../../monitoring/runbooks/{each.alert}.md)"
    cells = (each.name, each.injected, runbook, _named(each.labels), f"`{each.dashboard}`: `{each.panel}`")
    return f"| {' | '.join(cells)} | {_named(each.series)} | {each.links} |"


def _named(labels: object) -> str:
    assert isinstance(labels, dict)
    return ", ".join(f"`{name}={value}`" for name, value in labels.items()) or "the only one"
