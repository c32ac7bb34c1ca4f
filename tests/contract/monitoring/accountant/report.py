"""The accountant's report: a page of the documentation."""

from __future__ import annotations

from pathlib import Path

from tests.contract.monitoring.accountant.audit import AS_RECORDED, Audit, Compared

PAGE = Path(__file__).parents[4] / "docs" / "explanation" / "compared-figures.md"
COMMAND = ".venv/bin/python -m tests.contract.monitoring.accountant"


def page(audit: Audit) -> str:
    """Returns the page."""
    lines = [
        "# Which figures are compared with the truth?",
        "",
        f"This page is written by `{COMMAND}`.",
        "A script sends requests to two gateways, whose engine is scripted too, and counts what it sent and got.",
        "Every panel, every recorded series, `/v1/usage`, `/v1/admin/usage`, the log of requests and the captures are "
        "then compared with these counts.",
        "A figure that counts must be exact; one that estimates must be in the bucket of its histogram in which the "
        "truth lies.",
        "A recorded series is compared twice: its rule, over the time of the script, with the counts, and what "
        "Prometheus recorded with the rule.",
        "The line of a request in the log is compared field by field.",
        "A panel, a recorded series or a field of that line that nobody compares fails the tests.",
        "One round of the script is played with every change: usage, the log, the captures and the counters of the "
        "exporter are compared then, and panels and rules by `make soak`.",
        "",
        "## Compared figures",
        "",
        "| figure | how |",
        "| --- | --- |",
        *(f"| {_cell(each.name)} | {each.how} |" for each in listed(audit)),
        "",
        "## Figures that other programs fill",
        "",
        "No script of requests to a gateway can know their truth.",
        "",
        "| figure | why |",
        "| --- | --- |",
        *(f"| {_cell(name)} | {reason} |" for name, reason in sorted(audit.elsewhere.items())),
    ]
    return "\n".join(lines) + "\n"


def listed(audit: Audit) -> list[Compared]:
    """Returns the comparisons of the page: what was recorded is not listed again beside its rule."""
    return [each for each in audit.compared if not each.name.endswith(AS_RECORDED)]


def _cell(name: str) -> str:
    return f"`{name}`".replace("|", "\\|")
