"""The rules on a faster clock: every window, wait and interval divided, so that a test sees hours in a minute.

What a rule compares stays: a scaled `increase(x[15m]) > 3` wants as many, in less time. Only tests and tools import
this module: promql-parser is no part of what runs.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import promql_parser as promql

from monitoring import alerts, objectives, recording
from monitoring.burn import Clock
from monitoring.burn import groups as burning
from monitoring.rule import Alert, Group, Recording

EVERY_S = 2
"""Seconds between two evaluations, at least."""


def groups(scale: float) -> tuple[Group, ...]:
    """Every group of `monitoring.groups.GROUPS`, in that order, `scale` times as fast.

    Raises `ValueError` below 1. Cases of alerts are as they were: they are for the rules at their own pace.
    """
    clock = _clock(scale)
    return (
        *(_group(group, clock) for group in recording.GROUPS),
        *(group for objective in objectives.OBJECTIVES for group in burning(objective, scale=scale)),
        *(_group(group, clock) for group in alerts.GROUPS),
    )


def expression(text: str, scale: float) -> str:
    """An expression whose windows and offsets are divided by `scale`.

    None gets shorter than `monitoring.burn.FEWEST_S`, in which even the stack's own Prometheus scrapes four times.
    Raises `ValueError` when it does not parse, has a subquery or looks ahead, or when `scale` is below 1.
    """
    return _scaled(text, _clock(scale))


def _clock(scale: float) -> Clock:
    if scale < 1:
        raise ValueError(f"a scale is 1 or more, not {scale:g}")
    return Clock(scale)


def _group(group: Group, clock: Clock) -> Group:
    return replace(group, rules=[_rule(rule, clock) for rule in group.rules], interval=clock(group.interval, EVERY_S))


def _rule(rule: Recording | Alert, clock: Clock) -> Recording | Alert:
    scaled = _scaled(rule.expression, clock)
    if isinstance(rule, Recording):
        return replace(rule, expression=scaled)
    return replace(rule, expression=scaled, wait=clock(rule.wait, 0))


def _scaled(text: str, clock: Clock) -> str:
    def shorter(tree: promql.Expr) -> promql.Expr | None:
        # A selector cannot be changed, only replaced by one that is parsed anew.
        match tree:
            case promql.VectorSelector() if tree.offset:
                told = f" offset {promql.display_duration(tree.offset)}"
                return promql.parse(f"{tree.prettify().removesuffix(told)} offset {_shorter(tree.offset, clock)}")
            case promql.MatrixSelector():
                window = f"[{promql.display_duration(tree.range)}]"
                before, _, after = tree.prettify().rpartition(window)
                return promql.parse(f"{before}[{_shorter(tree.range, clock)}]{after}")
            case promql.SubqueryExpr():
                raise ValueError(f"{tree.prettify()}: a subquery has no faster clock")
        return None

    # The parts of a selector come before it, so that none is made shorter twice.
    return promql.transform(promql.parse(text), post_visit=shorter).prettify()


def _shorter(duration: timedelta, clock: Clock) -> str:
    return clock(f"{int(duration.total_seconds())}s")
