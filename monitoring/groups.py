"""Every group of rules, in the order in which Prometheus evaluates them: what is recorded stands before its use."""

from __future__ import annotations

from monitoring import recording
from monitoring.rule import Group

GROUPS: tuple[Group, ...] = recording.GROUPS
