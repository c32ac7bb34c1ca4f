"""The rules on a faster clock: windows, waits and intervals divided, so that a test of hours takes a minute.

Thresholds are unchanged: a scaled `increase(x[15m]) > 3` needs as many events in less time.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import promql_parser as promql

from monitoring import alerts, objectives, recording
from monitoring.burn_rate import Clock
from monitoring.burn_rate import groups as burning
from monitoring.rule import Alert, Group, Recording

EVERY_S = 2
"""The shortest interval between two evaluations, in seconds."""


def scaled_groups(scale: float) -> tuple[Group, ...]:
    """Returns every group of `monitoring.groups.GROUPS`, in that order, `scale` times as fast.

    Raises `ValueError` below 1. The alerts' test cases are not scaled.
    """
    clock = _clock(scale)
    return (
        *(_group(group, clock) for group in recording.GROUPS),
        *(group for objective in objectives.OBJECTIVES for group in burning(objective, scale=scale)),
        *(_group(group, clock) for group in alerts.GROUPS),
    )


def scale_expression(text: str, scale: float) -> str:
    """Returns an expression with its windows and offsets divided by `scale`.

    None becomes shorter than `monitoring.burn_rate.FEWEST_S`, in which the stack's own Prometheus scrapes four times.
    Raises `ValueError` when it does not parse, has a subquery or looks ahead, or when `scale` is below 1.
    """
    return _scale(text, _clock(scale))


def _clock(scale: float) -> Clock:
    if scale < 1:
        raise ValueError(f"a scale is 1 or more, not {scale:g}")
    return Clock(scale)


def _group(group: Group, clock: Clock) -> Group:
    return replace(group, rules=[_rule(rule, clock) for rule in group.rules], interval=clock(group.interval, EVERY_S))


def _rule(rule: Recording | Alert, clock: Clock) -> Recording | Alert:
    scaled = _scale(rule.expression, clock)
    if isinstance(rule, Recording):
        return replace(rule, expression=scaled)
    return replace(rule, expression=scaled, wait=clock(rule.wait, 0))


def _scale(text: str, clock: Clock) -> str:
    def scale(tree: promql.Expr) -> promql.Expr | None:
        # The parser's selectors are immutable: parse a changed copy.
        match tree:
            case promql.VectorSelector() if tree.offset:
                unscaled = f" offset {promql.display_duration(tree.offset)}"
                offset = _scale_duration(tree.offset, clock)
                return promql.parse(f"{tree.prettify().removesuffix(unscaled)} offset {offset}")
            case promql.MatrixSelector():
                window = f"[{promql.display_duration(tree.range)}]"
                before, _, after = tree.prettify().rpartition(window)
                return promql.parse(f"{before}[{_scale_duration(tree.range, clock)}]{after}")
            case promql.SubqueryExpr():
                raise ValueError(f"{tree.prettify()}: subqueries cannot be scaled")
        return None

    # Children are visited before their parents, so that nothing is scaled twice.
    return promql.transform(promql.parse(text), post_visit=scale).prettify()


def _scale_duration(duration: timedelta, clock: Clock) -> str:
    return clock(f"{int(duration.total_seconds())}s")
