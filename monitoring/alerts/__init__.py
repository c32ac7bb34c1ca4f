"""Alerts other than those of the objectives, one module for each area."""

from __future__ import annotations

from monitoring.alerts import assistants, data, engines, feedback, gpus, money, platform, releases, requests, security

GROUPS = (
    requests.GROUP,
    engines.GROUP,
    gpus.GROUP,
    assistants.GROUP,
    data.GROUP,
    money.GROUP,
    security.GROUP,
    feedback.GROUP,
    releases.GROUP,
    platform.GROUP,
)
