"""A panel's expression with what was chosen above it. Only these expressions are asked: no PromQL is taken."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from monitoring.dashboards.panel import TARGETS, Dashboard, Variable
from monitoring.dashboards.plain import substitute
from monitoring.status.problem import Problem
from monitoring.status.window import Window

MOST = 50
"""Values of one variable."""
LONGEST = 1024
"""Characters of a value."""

Chosen = Mapping[str, Sequence[str]]
"""Label values by the variable's name; a variable that is missing stands for all of them."""


def variables(dashboard: Dashboard) -> tuple[Variable, ...]:
    """What can be chosen, in the order in which one choice narrows the next."""
    return (*TARGETS, *dashboard.variables)


def check(dashboard: Dashboard, chosen: Chosen) -> None:
    """Raises `Problem` when something was chosen that the dashboard does not have, or too much of it."""
    known = [variable.name for variable in variables(dashboard)]
    for name, values in chosen.items():
        if name not in known:
            raise Problem(400, f"this dashboard has no variable {name[:40]!r}; it has {', '.join(known)}")
        if len(values) > MOST or any(len(value) > LONGEST for value in values):
            raise Problem(400, f"{name}: choose at most {MOST} values of {LONGEST} characters")


def filled(expression: str, dashboard: Dashboard, chosen: Chosen, window: Window) -> str:
    """The expression as Prometheus takes it. Variables stand in quotes behind `=~`, and only there."""
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
    """What stands between the quotes of `label=~""` and matches these values alone.

    PromQL's strings have Go's escapes, of which JSON's are a part as long as no character is written as surrogates.
    """
    return json.dumps("|".join(re.escape(value) for value in values), ensure_ascii=False)[1:-1]
