"""The dashboard of objectives and their error budgets."""

from __future__ import annotations

from monitoring.dashboards.panel import Dashboard, Panel, Row, Step, Target
from monitoring.dashboards.query import recorded_expression
from monitoring.objective import Objective
from monitoring.objectives import OBJECTIVES

WINDOWS = ("1h", "6h", "1d", "3d")
"""Windows of the burn rate panels: the long windows of the alerts."""


def dashboard() -> Dashboard:
    """Returns the dashboard, with a row for each objective: error budget, burn rate and requests."""
    return Dashboard(
        "objectives",
        "Headrace / Objectives",
        "The stack's objectives, and how much of each error budget is left.",
        rows=tuple(Row(_title(objective), _panels(objective)) for objective in OBJECTIVES),
    )


def _title(objective: Objective) -> str:
    return objective.name.replace("_", " ").capitalize()


def _panels(objective: Objective) -> tuple[Panel, ...]:
    drawn = {title: recorded_expression(expression) for title, expression in objective.expressions.items()}
    title = _title(objective)
    labels = "".join(f" {{{{{label}}}}}" for label in (*objective.labels, "namespace"))
    return (
        Panel(
            f"{title}: budget left",
            f"{objective.help} A share of {objective.objective:.4g} of the requests in 30 days must be good. "
            "1 is the whole error budget; below 0 the objective is missed.",
            "ratio",
            (Target(drawn["budget left, 30d"], f"left{labels}"),),
            "stat",
            (Step(0, "orange"), Step(0.25, "green")),
            "red",
            width=6,
        ),
        Panel(
            f"{title}: burn rate",
            "How fast the error budget burns. At 1 it lasts 30 days, at 14.4 two days.",
            "1",
            tuple(Target(drawn[f"burn rate, {window}"], f"{window}{labels}") for window in WINDOWS),
            steps=(Step(1, "yellow"), Step(6, "orange"), Step(14.4, "red")),
            width=6,
        ),
        Panel(
            f"{title}: bad requests",
            "Share of requests that miss the objective, over 5 minutes and over an hour.",
            "ratio",
            tuple(Target(drawn[f"bad requests, {window}"], f"{window}{labels}") for window in ("5m", "1h")),
            width=6,
        ),
        Panel(
            f"{title}: requests",
            "Requests per second that count for the objective. Without any, no alert fires.",
            "requests/s",
            (Target(drawn["requests per second"], f"requests{labels}"),),
            width=6,
        ),
    )
