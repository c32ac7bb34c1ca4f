"""Alerts about releases of models."""

from __future__ import annotations

from monitoring.alerts.case import alert_case
from monitoring.rule import Alert, Group

GROUP = Group(
    "alerts-releases",
    (
        Alert(
            name="CanaryWorse",
            # An e-value: at 100 the release is rolled back automatically.
            expression="max by (alias) (headrace_release_harm) > 10",
            wait="5m",
            severity="ticket",
            owner="applications",
            summary="The canary of the alias {{ $labels.alias }} does worse than its base (evidence {{ $value }})",
            dashboard="feedback",
            fires=alert_case("10m", ('headrace_release_harm{alias="chat"}', "11x20")),
            silent=alert_case("10m", ('headrace_release_harm{alias="chat"}', "11x3 9x20")),
        ),
        Alert(
            name="CanaryRolledBack",
            expression="sum by (alias) ("
            'increase(headrace_releases_total{outcome="rolled_back",reason=~"guards|target_missing"}[30m])) > 0',
            wait="0m",
            severity="ticket",
            owner="applications",
            summary="A canary of the alias {{ $labels.alias }} was worse than its base, and was rolled back",
            dashboard="feedback",
            fires=alert_case(
                "20m", ('headrace_releases_total{alias="chat",outcome="rolled_back",reason="guards"}', "0x10 1x20")
            ),
            silent=alert_case(
                "20m",
                ('headrace_releases_total{alias="chat",outcome="rolled_back",reason="requested"}', "0x10 1x20"),
                ('headrace_releases_total{alias="chat",outcome="promoted",reason="no_worse"}', "0x10 1x20"),
            ),
        ),
    ),
)
