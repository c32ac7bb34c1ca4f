"""Links from a panel to the alerts that use the same series, and to their runbooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import promql_parser

from monitoring.addresses import Addresses
from monitoring.dashboards.panel import Dashboard
from monitoring.dashboards.variables import without_variables
from monitoring.rule import Alert, Group, Recording

PAGE = ""
"""The key of links that belong to the whole dashboard."""


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a panel or of a dashboard."""

    title: str
    url: str


def links_by_panel(
    dashboard: Dashboard, groups: Iterable[Group], addresses: Addresses | None = None
) -> dict[str, list[Link]]:
    """Returns links to alerts and runbooks by panel title; see `alerts_by_panel`."""
    to = addresses or Addresses()
    links = {
        title: [link for name in found for link in _alert_links(name, to)]
        for title, found in alerts_by_panel(dashboard, groups).items()
    }
    for panel in dashboard.panels:
        if "ALERTS" in {name for target in panel.targets for name in selected_series(target.expression)}:
            links.setdefault(panel.title, []).insert(0, Link("What to do about each alert", to.alert()))
    return links


def alerts_by_panel(dashboard: Dashboard, groups: Iterable[Group]) -> dict[str, list[str]]:
    """Returns names of alerts by panel title.

    A panel belongs to an alert of its dashboard when both read the same series, also by way of recording rules, and
    to an alert of any dashboard when both read the same recorded one. An alert of this dashboard that shares its
    series with no panel belongs to the page itself, under `PAGE`.
    """
    rules = [rule for group in groups for rule in group.rules]
    recorded = {rule.name: rule.expression for rule in rules if isinstance(rule, Recording)}
    read = {
        panel.title: {name for target in panel.targets for name in read_series(target.expression, recorded)}
        for panel in dashboard.panels
    }
    found: dict[str, list[str]] = {}
    for alert in (rule for rule in rules if isinstance(rule, Alert)):
        here = alert.dashboard == dashboard.name
        wanted = (
            read_series(alert.expression, recorded) if here else selected_series(alert.expression) & recorded.keys()
        )
        for title in [title for title, has in read.items() if has & wanted] or [PAGE] * here:
            shown = found.setdefault(title, [])
            if alert.name not in shown:
                shown.append(alert.name)
    return found


def read_series(expression: str, recorded: Mapping[str, str]) -> frozenset[str]:
    """Returns the series that an expression reads: recorded series, and the series that they are recorded from."""
    found: set[str] = set()
    todo = [expression]
    while todo:
        for name in selected_series(todo.pop()):
            if name not in found:
                found.add(name)
                todo += [recorded[name]] if name in recorded else []
    return frozenset(_family(name) for name in found)


def selected_series(expression: str) -> frozenset[str]:
    """Returns the names of the series that an expression selects."""
    found: set[str] = set()

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector) and node.name:
            found.add(node.name)

    promql_parser.walk(promql_parser.parse(without_variables(expression)), visit)
    return frozenset(found)


def _family(name: str) -> str:
    for ending in ("_bucket", "_count", "_sum"):
        name = name.removesuffix(ending)
    return name


def _alert_links(alert: str, to: Addresses) -> Sequence[Link]:
    runbook = to.runbook(alert)
    return (
        Link(f"Alert {alert}", to.alert(alert)),
        *([Link(f"Runbook of {alert}", runbook)] if runbook else []),
    )
