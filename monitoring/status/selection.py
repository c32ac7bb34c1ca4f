"""Panels' expressions with the selected values of variables. The page evaluates no other PromQL."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from monitoring.dashboards.panel import TARGETS, Dashboard, Variable
from monitoring.dashboards.variables import substitute
from monitoring.status.problem import Problem
from monitoring.status.window import Window

MOST = 50
"""Most selected values of one variable."""
LONGEST = 1024
"""Most characters of a selected value."""

Selection = Mapping[str, Sequence[str]]
"""Selected label values by variable name; a missing variable means all values."""


def variables(dashboard: Dashboard) -> tuple[Variable, ...]:
    """Returns the variables of a dashboard, in the order in which each selection narrows the next."""
    return (*TARGETS, *dashboard.variables)


def check(dashboard: Dashboard, chosen: Selection) -> None:
    """Raises `Problem` for a variable that the dashboard does not have, and for too many or too long values."""
    known = [variable.name for variable in variables(dashboard)]
    for name, values in chosen.items():
        if name not in known:
            raise Problem(400, f"this dashboard has no variable {name[:40]!r}; it has {', '.join(known)}")
        if len(values) > MOST or any(len(value) > LONGEST for value in values):
            raise Problem(400, f"{name}: choose at most {MOST} values of {LONGEST} characters")


def fill_variables(expression: str, dashboard: Dashboard, chosen: Selection, window: Window) -> str:
    """Returns the expression with its variables replaced; they occur only in quotes after `=~`."""
    values = {
        "__rate_interval": f"{window.rate_interval}s",
        "__interval": f"{window.step}s",
        "__range": f"{window.seconds}s",
    }
    for variable in variables(dashboard):
        asked = chosen.get(variable.name)
        values[variable.name] = pattern(asked) if asked else variable.all_value
    return substitute(expression, values.__getitem__)


def pattern(values: Sequence[str]) -> str:
    """Returns a pattern, for the quotes of `label=~""`, that matches these values and no others.

    PromQL's strings use Go's escapes, which include JSON's as long as no character is written as surrogates.
    """
    return json.dumps("|".join(re.escape(value) for value in values), ensure_ascii=False)[1:-1]
