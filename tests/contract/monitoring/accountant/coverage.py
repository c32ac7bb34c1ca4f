"""Which figures the accountant compares, and which others fill: every panel and recorded series is one or the other."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monitoring.dashboards import DASHBOARDS
from monitoring.rule import Recording
from tests.contract.monitoring.accountant import panels, recorded
from tests.contract.monitoring.accountant.elsewhere import ELSEWHERE, RECORDINGS, fillers

RECORDED = re.compile(r"(\w+:\w+:\w+)(?:\{[^}]*\})?")
"""A selector of a recorded series."""


def drawn() -> Iterator[tuple[str, str]]:
    """Yields the queries of all panels but those of objectives and alerts, which draw what rules make."""
    for dashboard in DASHBOARDS:
        for panel in dashboard.panels:
            for target in panel.targets:
                if dashboard.name != "objectives" and "ALERTS" not in target.expression:
                    yield f"{dashboard.name}: {panel.title}: {target.legend}", target.expression


def objectives_drawn() -> Iterator[tuple[str, str, str]]:
    """Yields the queries of the panels of objectives: name, expression, and the end of the panel's title."""
    board = next(each for each in DASHBOARDS if each.name == "objectives")
    for panel in board.panels:
        for target in panel.targets:
            yield (
                f"objectives: {panel.title}: {target.legend}",
                target.expression,
                panel.title.rpartition(": ")[2],
            )


def is_compared(rule: Recording) -> bool:
    """Returns whether there is a truth for a rule."""
    name = recorded.key(rule)
    return name in recorded.LLM or name in recorded.OF


def uncompared() -> list[str]:
    """Returns what nobody compares, and entries of the lists that are of no use; each with the reason."""
    found, read, seen = [], set(), set()
    for name, expression in drawn():
        seen.add(name)
        others = fillers(expression)
        read |= set(others)
        if bool(others) == (name in panels.PANELS):
            found.append(f"{name}: {'others fill it too' if others else 'nobody compares it'}")
    found += [f"{name}: there is no such panel" for name in panels.PANELS if name not in seen]
    for name, expression, what in objectives_drawn():
        series = RECORDED.findall(expression)
        if len(series) != 1 or series[0] not in recorded.OF or what not in recorded.DRAWN:
            found.append(f"{name}: nobody compares it")
    for rule in RECORDINGS:
        others = fillers(rule.expression)
        read |= set(others)
        if not others and not is_compared(rule):
            found.append(f"{recorded.key(rule)}: nobody compares it")
    return found + [
        f"{name}: no figure needs it in the list of others' series" for name in ELSEWHERE if name not in read
    ]
