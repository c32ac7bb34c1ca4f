"""The settings of own alerts and objectives, held to the checks of those that come with Headrace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, Self

import promql_parser as promql
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from monitoring.addresses import URL
from monitoring.alerts.case import alert_case
from monitoring.burn_rate import groups
from monitoring.dashboards import DASHBOARDS
from monitoring.expression import mistakes
from monitoring.groups import GROUPS
from monitoring.objective import FASTEST, Example, Objective
from monitoring.objectives import OBJECTIVES
from monitoring.rule import Alert, Case, Group, Owner, Recording
from serving.config import Strict

SHIPPED = frozenset(rule.name for group in GROUPS for rule in group.rules if isinstance(rule, Alert))
LEAST_SHARE = 1 - 1 / FASTEST
BOARDS = tuple(dashboard.name for dashboard in DASHBOARDS)


def _expression(text: str) -> str:
    if found := mistakes(text):
        raise ValueError(f"must be PromQL over existing series: {'; '.join(found)}")
    return text


def _counter(text: str) -> str:
    if not isinstance(promql.parse(_expression(text)), promql.VectorSelector):
        raise ValueError("must be a selector of a counter, such as headrace_answers_total")
    return _expression(f"rate({text}[5m])") and text


def _unused(name: str) -> str:
    if name in SHIPPED:
        raise ValueError(f"must differ from Headrace's alert {name}")
    return name


def _board(name: str) -> str:
    if name not in BOARDS:
        raise ValueError(f"must be one of {', '.join(BOARDS)}")
    return name


Duration = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,4}[smhd]$")]
Line = Annotated[str, StringConstraints(pattern=r"^[^\n]+$", max_length=300)]
Address = Annotated[str, StringConstraints(pattern=rf"^{URL}$", max_length=2000)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(_expression)]
Counter = Annotated[str, StringConstraints(min_length=1, max_length=1000), AfterValidator(_counter)]
Label = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]


class AlertCase(Strict):
    """What an alert must do with some samples: promtool tries it."""

    after: Duration = Field(description="time at which the alert is looked at")
    samples: Mapping[str, str] = Field(
        min_length=1,
        description="a series with its labels, and its values, one a minute, in promtool's notation (0+5x20)",
    )

    @property
    def case(self) -> Case:
        """The case as the alerts of Headrace have it."""
        return alert_case(self.after, *self.samples.items())

    @model_validator(mode="after")
    def _notation(self) -> Self:
        for series in self.samples:
            _expression(series)
        try:
            _ = self.case
        except ValueError as e:
            raise ValueError(f"must have values in promtool's notation, such as 0+5x20: {e}") from None
        return self


class OwnAlert(Strict):
    """An alert of the stack's operators."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{2,63}$"), AfterValidator(_unused)] = Field(
        description="in CamelCase; not that of an alert of Headrace"
    )
    expression: Expression = Field(description="PromQL over the series that the stack's Prometheus has")
    wait: Duration = Field(default="5m", description="how long the expression must hold")
    severity: Literal["page", "ticket", "info"]
    owner: Owner
    summary: Line = Field(description="one line; may use {{ $labels.model }} and {{ $value }}")
    description: Line = Field(description="what it means, for who gets the message")
    runbook: Address = Field(description="URL of the page that says what to do")
    dashboard: Annotated[str, AfterValidator(_board)] = Field(
        default="overview", description="the dashboard that shows it"
    )
    fires: AlertCase = Field(description="samples with which it must fire")
    silent: AlertCase = Field(description="samples with which it must not fire")

    @property
    def rule(self) -> Alert:
        """The alert as a rule."""
        return Alert(
            name=self.name,
            expression=self.expression,
            wait=self.wait,
            severity=self.severity,
            owner=self.owner,
            summary=self.summary,
            dashboard=self.dashboard,
            fires=self.fires.case,
            silent=self.silent.case,
            description=self.description,
            runbook=self.runbook,
        )


class ObjectiveExample(Strict):
    """Two series for the tests of an objective's alerts."""

    good: Counter = Field(description="a series with all of its labels that counts good requests")
    bad: Counter = Field(description="one that counts bad requests")


class OwnObjective(Strict):
    """An objective of the stack's operators: the share of good requests in all, over 30 days."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=60)]
    promise: Line = Field(description="what is promised, as one sentence")
    owner: Owner
    good: tuple[Counter, ...] = Field(min_length=1, max_length=8, description="selectors of counters of good requests")
    all: tuple[Counter, ...] = Field(min_length=1, max_length=8, description="selectors of counters of all requests")
    share: float = Field(gt=0, lt=1, description="share of all requests that must be good, such as 0.99")
    per: tuple[Label, ...] = Field(
        default=(), max_length=3, description="labels, for each of whose values the objective holds by itself"
    )
    runbook: Address = Field(description="URL of the page that says what to do when the budget burns")
    example: ObjectiveExample

    @property
    def objective(self) -> Objective:
        """The objective as those of Headrace are written."""
        return Objective(
            name=self.name,
            help=self.promise,
            owner=self.owner,
            good=self.good,
            total=self.all,
            objective=self.share,
            example=Example(good=self.example.good, bad=self.example.bad),
            labels=self.per,
        )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.name in {each.name for each in OBJECTIVES}:
            raise ValueError(f"must differ from Headrace's objective {self.name}")
        if not self.share > LEAST_SHARE:
            raise ValueError(f"must have a share above {LEAST_SHARE:.4f}, so that its budget can burn fast")
        for counter in (*self.good, *self.all):
            _expression(f"sum by ({', '.join(self.per)}) (rate({counter}[5m]))")
        return self

    @property
    def groups(self) -> list[Group]:
        """Its rules and alerts, which link to its runbook."""
        return [replace(group, rules=[self._linked(r) for r in group.rules]) for group in groups(self.objective)]

    def _linked(self, rule: Recording | Alert) -> Recording | Alert:
        if isinstance(rule, Recording):
            return rule
        return replace(rule, description=f"{self.promise} Its error budget burns too fast.", runbook=self.runbook)


def _once(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"must not have {', '.join(twice)} twice")


def _alerts(given: tuple[OwnAlert, ...]) -> tuple[OwnAlert, ...]:
    _once([alert.name for alert in given])
    return given


def _objectives(given: tuple[OwnObjective, ...]) -> tuple[OwnObjective, ...]:
    _once([objective.name for objective in given])
    return given


OwnAlerts = Annotated[tuple[OwnAlert, ...], AfterValidator(_alerts)]
OwnObjectives = Annotated[tuple[OwnObjective, ...], AfterValidator(_objectives)]
