"""The HTML of the pages: frame, panels and controls. `static/status.js` requests the data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from monitoring.dashboards import DASHBOARDS
from monitoring.dashboards.links import PAGE, alerts_by_panel
from monitoring.dashboards.panel import Dashboard, Panel, Row
from monitoring.groups import GROUPS
from monitoring.rule import Alert
from monitoring.status import runbook
from monitoring.status.selection import variables
from monitoring.status.window import DEFAULT, WINDOWS

BY_NAME: Mapping[str, Dashboard] = {dashboard.name: dashboard for dashboard in DASHBOARDS}
ALERTS: Mapping[str, Alert] = {rule.name: rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}
FIRST = "overview"
MAIN_ROWS = ("Alerts", "Now", "Requests", "Where the time goes")
"""Rows of the first dashboard that are shown on the main page."""


def panel_id(title: str) -> str:
    """Returns a panel's id in its dashboard and in the page."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def panels(dashboard: Dashboard) -> dict[str, Panel]:
    """Returns the dashboard's panels by id."""
    return {panel_id(panel.title): panel for panel in dashboard.panels}


def main() -> str:
    """Returns the page `/status`."""
    first = BY_NAME[FIRST]
    rows = [row for row in first.rows if row.title in MAIN_ROWS]
    return _dashboard(first, "Status", "/status", rows)


def dashboard(name: str) -> str:
    """Returns the page of a dashboard; raises `KeyError`."""
    shown = BY_NAME[name]
    return _dashboard(shown, _short_title(shown), f"/status/{name}", shown.rows)


def alert(name: str) -> str:
    """Returns the page of an alert with its runbook; raises `KeyError`."""
    shown = ALERTS[name]
    board = BY_NAME[shown.dashboard]
    facts = {
        "Summary": escape(shown.summary),
        "Severity": escape(shown.severity),
        "Owner": escape(shown.owner),
        "Must hold for": escape(shown.wait),
        "Expression": f"<pre><code>{escape(shown.expression)}</code></pre>",
        "Dashboard": f'<a href="/status/{board.name}">{escape(_short_title(board))}</a>',
    }
    listed = "".join(f"<dt>{escape(term)}</dt><dd>{value}</dd>" for term, value in facts.items())
    body = (
        f'<h1>{escape(name)}</h1><dl class="facts">{listed}</dl>'
        f'<article id="runbook" class="runbook" aria-label="Runbook">{runbook.html(name)}</article>'
    )
    return _frame(name, "", body)


def problem(message: str) -> str:
    """Returns the page that reports an error, such as an unknown address."""
    return _frame("Error", "", f"<h1>Error</h1><p>{escape(message)}</p>")


def _dashboard(shown: Dashboard, title: str, address: str, rows: Iterable[Row]) -> str:
    linked = alerts_by_panel(shown, GROUPS)
    sections = "".join(
        f"<h2>{escape(row.title)}</h2>"
        f'<div class="grid">{"".join(_panel(panel, linked.get(panel.title, ())) for panel in row.panels)}</div>'
        for row in rows
    )
    more = _alert_links("Alerts of this page", linked.get(PAGE, ()))
    body = (
        f"<h1>{escape(title)}</h1><p>{escape(shown.description)}</p>{_controls(shown)}"
        f'<p id="problem" role="status"></p>{sections}{more}'
    )
    return _frame(title, address, body, shown.name)


def _controls(shown: Dashboard) -> str:
    ranges = "".join(f"<option{' selected' * (name == DEFAULT)}>{name}</option>" for name in WINDOWS)
    chosen = "".join(
        f'<label>{escape(variable.title)} <select data-variable="{variable.name}">'
        f'<option value="">All</option></select></label>'
        for variable in variables(shown)
    )
    refresh = "".join(
        f'<option value="{seconds}"{" selected" * (seconds == 30)}>{text}</option>'
        for seconds, text in ((0, "off"), (10, "10 s"), (30, "30 s"), (300, "5 min"))
    )
    return (
        '<form class="controls" aria-label="Display options">'
        f'<label>Range <select id="range">{ranges}</select></label>{chosen}'
        f'<label>Refresh <select id="refresh">{refresh}</select></label>'
        '<button type="button" id="now">Refresh now</button></form>'
    )


def _panel(panel: Panel, linked: Sequence[str]) -> str:
    id = panel_id(panel.title)
    steps = json.dumps([{"value": step.value, "colour": step.colour} for step in panel.steps])
    return (
        f'<section class="panel" id="{id}" data-panel="{escape(panel.title)}" data-state="loading"'
        f' data-kind="{panel.kind}" data-unit="{escape(panel.unit)}" data-stacked="{str(panel.stacked).lower()}"'
        f' data-steps="{escape(steps)}" data-base="{panel.base}" data-width="{panel.width}"'
        f' data-height="{panel.height}" aria-labelledby="{id}-title">'
        f'<h3 id="{id}-title">{escape(panel.title)}</h3><p class="about">{_description_html(panel.description)}</p>'
        '<div class="drawn"></div><p class="message">Loading</p>'
        f"{_alert_links('Alerts', linked)}</section>"
    )


def _description_html(text: str) -> str:
    """Returns a description as HTML; its only markup is Markdown's backtick."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _alert_links(title: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    items = "".join(
        f'<li><a href="/status/alerts/{name}">{name}</a> '
        f'(<a href="/status/alerts/{name}#runbook" aria-label="Runbook of {name}">runbook</a>)</li>'
        for name in names
    )
    return f'<details class="alerts"><summary>{title} ({len(names)})</summary><ul>{items}</ul></details>'


def _short_title(shown: Dashboard) -> str:
    return shown.title.removeprefix("Headrace / ")


def _frame(title: str, address: str, body: str, name: str = "") -> str:
    pages = [("/status", "Status"), *((f"/status/{each.name}", _short_title(each)) for each in DASHBOARDS)]
    links = "".join(
        f'<li><a href="{url}"{" aria-current=page" * (url == address)}>{escape(text)}</a></li>' for url, text in pages
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(title)} - Headrace</title>"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<link rel="icon" href="/status/static/icon.svg" type="image/svg+xml">'
        '<link rel="stylesheet" href="/status/static/uplot.css">'
        '<link rel="stylesheet" href="/status/static/status.css">'
        '<script src="/status/static/locale.js" defer></script>'
        '<script src="/status/static/uplot.js" defer></script>'
        '<script src="/status/static/status.js" type="module"></script></head>'
        f'<body data-dashboard="{name}"><a class="skip" href="#main">Skip to the page</a>'
        f'<nav aria-label="Dashboards"><ul>{links}</ul></nav>'
        '<div id="firing" role="status" aria-label="Firing alerts"></div>'
        f'<main id="main" tabindex="-1"><noscript>This page needs JavaScript.</noscript>{body}</main>'
        "<footer>Charts are drawn by uPlot.</footer></body></html>"
    )
