"""Series that Prometheus itself adds for each target and each alert."""

from __future__ import annotations

from monitoring.external.program import program

SERIES = program(
    "prometheus",
    gauges={
        (): (
            ("up", "1 when the last scrape of a target succeeded."),
            ("scrape_duration_seconds", "Time of a target's last scrape."),
            ("scrape_samples_scraped", "Samples in a target's last scrape."),
        ),
        ("alertname", "alertstate", "severity", "owner"): (("ALERTS", "1 for an alert that is pending or firing."),),
    },
)
