"""Every group of rules, ordered so that series are recorded before other rules use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monitoring import alerts, objectives, recording
from monitoring.rule import Group

RULES: Mapping[str, Sequence[Group]] = {
    "recording": recording.GROUPS,
    "objectives": objectives.GROUPS,
    "alerts": alerts.GROUPS,
}
"""Groups, by the name of the file that they are written to."""

GROUPS: tuple[Group, ...] = tuple(group for groups in RULES.values() for group in groups)
