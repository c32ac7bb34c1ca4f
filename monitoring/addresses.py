"""Addresses that alerts and dashboards link to: set once, since only whoever runs a stack knows them."""

from __future__ import annotations

from dataclasses import dataclass

URL = r"https?://[^\s\"{}]+"
"""Pattern of an absolute URL that can stand in a template of an alert and in the JSON of a dashboard."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Absolute URLs without a slash at the end; an empty one makes no links.

    `runbooks` has a page `<Alert>.md` for each alert, such as the folder `monitoring/runbooks` in a forge, or
    `/admin/runbooks` at the address of a stack. `grafana` is Grafana's root.
    """

    runbooks: str = ""
    grafana: str = ""

    def runbook(self, alert: str) -> str:
        """Returns the URL of an alert's runbook, or nothing."""
        return f"{self.runbooks}/{alert}.md" if self.runbooks else ""

    def dashboard(self, name: str) -> str:
        """Returns the URL of a dashboard, or nothing."""
        return f"{self.grafana}/d/headrace-{name}" if self.grafana else ""

    def alert(self, name: str = "") -> str:
        """Returns the URL of an alert, or of all, in Grafana; without an address it is that of the Grafana shown."""
        return f"{self.grafana}/alerting/list" + (f"?search={name}" if name else "")
