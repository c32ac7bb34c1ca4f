"""Recording rules and alerts of Prometheus, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from serving.telemetry.catalogue import Unit

Severity = Literal["page", "ticket", "info", "none"]
"""`page` wakes somebody, `ticket` waits for working hours, `info` is displayed but notifies nobody, `none` always fires
while all is well."""
Owner = Literal["platform", "models", "applications", "security"]


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording rule: `name` is `level:metric:operation`, and `labels` are all labels of the recorded series."""

    name: str
    expression: str
    unit: Unit
    labels: tuple[str, ...]
    help: str
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Labels with a fixed value, which the rule adds."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A series in a promtool test: its name with labels, and its values in promtool's notation (`0+5x20`)."""

    series: str
    values: str


@dataclass(frozen=True, slots=True)
class Case:
    """A test case of an alert: the samples, and the time at which the alert is checked (`after`, such as `10m`)."""

    after: str
    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, which its runbook explains: `monitoring/runbooks/<name>.md`, or a page of its own.

    `fires` and `silent` are its two tests.
    """

    name: str
    expression: str
    wait: str
    """How long the expression must be true (`for`), such as `5m`."""
    severity: Severity
    owner: Owner
    summary: str
    """One line; may use `{{ $labels.model }}` and `{{ $value }}`."""
    dashboard: str
    """Name of the dashboard that shows it, such as `models`."""
    fires: Case
    silent: Case
    labels: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    """What it means; empty: what its runbook in `monitoring/runbooks` says."""
    runbook: str = ""
    """The URL of its runbook; empty: that of its page in `monitoring/runbooks`."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that Prometheus evaluates together, in order."""

    name: str
    rules: Sequence[Recording | Alert]
    interval: str = "30s"
