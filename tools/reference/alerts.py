"""The reference page of the alerts, generated from their definitions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitoring import alert_evidence
from monitoring.alerts import GROUPS
from monitoring.inhibitions import INHIBITIONS
from monitoring.rule import Alert, Group

RUNBOOKS = "../../monitoring/runbooks"
TEMPLATE = re.compile(r"\{\{\s*\$(?:labels\.)?(\w+)[^}]*\}\}")
SEVERITIES = {
    "page": "wakes somebody",
    "ticket": "waits for working hours",
    "info": "is displayed but notifies nobody",
    "none": "always fires while all is well, for somebody outside who notices when it stops",
}

EVIDENCE = f"""\
The last column lists the evidence that each alert fires.
Every alert has two test cases, one that fires it and one that does not, which promtool runs on the rules as they are.
*Local stack* is a fault that a test injects into a running stack, whose rules run on a faster clock there.
*Replayed exposition* is recorded output of the other program, with the fault in it.
*Scaled windows* are those of {alert_evidence.LONG_S // 3600} hour or more; promtool also runs a faster copy of them."""


def page(note: str) -> str:
    """Returns the page with every alert by area; `note` marks it as generated."""
    every = [alert for group in GROUPS for alert in _alerts(group)]
    severities = "\n".join(
        f"- An alert of severity `{name}` {meaning}; there are {sum(a.severity == name for a in every)}."
        for name, meaning in SEVERITIES.items()
    )
    parts = [
        "# Alerts reference",
        note,
        f"Headrace has {len(every)} alerts in addition to those of its objectives.\n"
        "Each alert has the labels `severity` and `owner`.\n"
        "Each alert has the annotations `summary`, `description` and `dashboard`, and with an address to link to also "
        "`runbook_url` and `dashboard_url`.\n"
        "The runbook of an alert explains what it means, what causes it, how to diagnose it and what to do.\n"
        "Words in *italics* in a summary are filled in when the alert fires.\n"
        "[Operate a stack](../how-to/operate.md) describes daily work with alerts.",
        severities,
        EVIDENCE,
        _classes(),
        _inhibitions(),
        *(_section(group) for group in GROUPS),
    ]
    return "\n\n".join(parts) + "\n"


def _classes() -> str:
    every = {alert.name: alert for group in GROUPS for alert in _alerts(group)}
    rows = []
    for name, alerts in alert_evidence.CLASSES.items():
        ways = [way for alert in alerts for way in alert_evidence.evidence(every[alert]).split("; ")]
        names = ", ".join(f"`{alert}`" for alert in alerts)
        rows.append(f"| {name} | {names} | {'; '.join(dict.fromkeys(ways))} |")
    return "## Classes of faults\n\n| class | alerts | evidence |\n| --- | --- | --- |\n" + "\n".join(rows)


def _inhibitions() -> str:
    rows = [
        f"| `{each.cause}` | {', '.join(f'`{name}`' for name in each.consequences)} "
        f"| {', '.join(each.equal) or ''} | {each.why} |"
        for each in INHIBITIONS
    ]
    return (
        "## Which alerts silence others\n\n"
        "While an alert of the first column fires, Alertmanager notifies nobody of those in the second column, "
        "if both are of one stack and have equal labels of the third column.\n"
        "No alert silences one that is more urgent.\n"
        "[Operate a stack](../how-to/operate.md#before-the-first-day) says how Alertmanager learns of it.\n\n"
        "| cause | silenced | equal labels | why |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
    )


def _alerts(group: Group) -> Iterator[Alert]:
    return (rule for rule in group.rules if isinstance(rule, Alert))


def _section(group: Group) -> str:
    area = group.name.removeprefix("alerts-")
    rows = "\n".join(_row(alert) for alert in _alerts(group))
    return (
        f"## Alerts about {'GPUs' if area == 'gpus' else area}\n\n"
        "| alert | severity | owner | holds for | summary | runbook | evidence |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + rows
    )


def _row(alert: Alert) -> str:
    wait = "at once" if alert.wait == "0m" else alert.wait
    summary = TEMPLATE.sub(r"*\1*", alert.summary)
    return (
        f"| `{alert.name}` | {alert.severity} | {alert.owner} | {wait} | {summary} "
        f"| [runbook]({RUNBOOKS}/{alert.name}.md) | {alert_evidence.evidence(alert)} |"
    )
