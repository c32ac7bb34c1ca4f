"""What Prometheus evaluates: recording rules and alerts, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from serving.telemetry.catalogue import Unit

Severity = Literal["page", "ticket", "info"]
"""`page` wakes somebody, `ticket` waits for the working day, `info` is shown and tells nobody."""
Owner = Literal["platform", "models", "applications", "security"]


@dataclass(frozen=True, slots=True)
class Recording:
    """A series that Prometheus makes: `name` is `level:metric:operation`, and `labels` are all that it has."""

    name: str
    expression: str
    unit: Unit
    labels: tuple[str, ...]
    help: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Labels with one value, which the rule adds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A series of a promtool test: its name with labels, and its values in promtool's notation (`0+5x20`)."""

    series: str
    values: str


@dataclass(frozen=True, slots=True)
class Case:
    """What Prometheus has seen when the alert is asked for, after `after` (`10m`)."""

    after: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert: why it is there is in its runbook, `monitoring/runbooks/<name>.md`.

    `fires` and `silent` are its two tests.
    """

    name: str
    expression: str
    wait: str
    """How long the expression must hold (`for`), such as `5m`."""
    severity: Severity
    owner: Owner
    summary: str
    """One line; may use `{{ $labels.model }}` and `{{ $value }}`."""
    dashboard: str
    """Name of the dashboard that shows it, such as `models`."""
    fires: Case
    silent: Case
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates together, one after the other."""

    name: str
    rules: Sequence[Recording | Alert]
    interval: str = "30s"
