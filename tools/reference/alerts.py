"""The reference page of the alerts, made from them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitoring import shown
from monitoring.alerts import GROUPS
from monitoring.rule import Alert, Group

RUNBOOKS = "../../monitoring/runbooks"
TEMPLATE = re.compile(r"\{\{\s*\$(?:labels\.)?(\w+)[^}]*\}\}")
SEVERITIES = {
    "page": "wakes somebody",
    "ticket": "waits for the working day",
    "info": "is shown and tells nobody",
}

SHOWN = f"""\
The last column says how each alert has been seen to fire.
Every alert has two cases, one that fires it and one that does not, which promtool runs over the rules as they are.
What begins with *local stack* is a fault that a test makes on a running stack, whose rules run on a faster clock there.
*Replayed exposition* is what the other program prints, as it was recorded, with the fault in it.
*Scaled windows* are those of {shown.LONG_S // 3600} hour and more, which promtool also runs on a faster clock."""


def page(note: str) -> str:
    """Every alert by area; `note` says that the page is generated."""
    every = [alert for group in GROUPS for alert in _alerts(group)]
    severities = "\n".join(
        f"- An alert of severity `{name}` {meaning}; there are {sum(a.severity == name for a in every)}."
        for name, meaning in SEVERITIES.items()
    )
    parts = [
        "# Alerts reference",
        note,
        f"Headrace has {len(every)} alerts beside those of its objectives.\n"
        "Each alert has the labels `severity` and `owner`.\n"
        "Each alert has the annotations `summary`, `dashboard` and `runbook_url`.\n"
        "The runbook of an alert says what it means, what causes it, what to type and what to do.\n"
        "What stands in *slanted* letters in a summary is filled in when the alert fires.\n"
        "[Operate a stack](../how-to/operate.md) says how a day with alerts goes.",
        severities,
        SHOWN,
        _classes(),
        *(_section(group) for group in GROUPS),
    ]
    return "\n\n".join(parts) + "\n"


def _classes() -> str:
    every = {alert.name: alert for group in GROUPS for alert in _alerts(group)}
    rows = []
    for name, alerts in shown.CLASSES.items():
        ways = "; ".join(dict.fromkeys(way for alert in alerts for way in shown.by(every[alert]).split("; ")))
        names = ", ".join(f"`{alert}`" for alert in alerts)
        rows.append(f"| {name} | {names} | {ways} |")
    return "## Classes of faults\n\n| class | alerts | shown by |\n| --- | --- | --- |\n" + "\n".join(rows)


def _alerts(group: Group) -> Iterator[Alert]:
    return (rule for rule in group.rules if isinstance(rule, Alert))


def _section(group: Group) -> str:
    area = group.name.removeprefix("alerts-")
    rows = "\n".join(_row(alert) for alert in _alerts(group))
    return (
        f"## Alerts about {'GPUs' if area == 'gpus' else area}\n\n"
        "| alert | severity | owner | holds for | summary | runbook | shown by |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + rows
    )


def _row(alert: Alert) -> str:
    wait = "at once" if alert.wait == "0m" else alert.wait
    summary = TEMPLATE.sub(r"*\1*", alert.summary)
    return (
        f"| `{alert.name}` | {alert.severity} | {alert.owner} | {wait} | {summary} "
        f"| [runbook]({RUNBOOKS}/{alert.name}.md) | {shown.by(alert)} |"
    )
