"""Where the runbook of an alert is."""

from __future__ import annotations


def url(alert: str) -> str:
    """Address of a page of `monitoring/runbooks`."""
    return f"https://headrace.invalid/runbooks/{alert}.md"
