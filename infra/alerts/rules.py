"""The rules of own alerts and objectives, and the series that these may read."""

from __future__ import annotations

from collections.abc import Sequence

from infra.alerts.settings import OwnAlert, OwnObjective
from monitoring.known_series import KNOWN, recorded_series
from monitoring.rule import Group
from monitoring.series import Series


def groups(alerts: Sequence[OwnAlert], objectives: Sequence[OwnObjective]) -> tuple[Group, ...]:
    """Returns the rules of a stack's own objectives and alerts."""
    made = [group for objective in objectives for group in objective.groups]
    return (*made, *([Group("own-alerts", [alert.rule for alert in alerts])] if alerts else []))


def known(own: Sequence[Group]) -> dict[str, Series]:
    """Returns the series that own rules may read: those of Headrace, and what they record themselves."""
    return {**KNOWN, **recorded_series(own)}
