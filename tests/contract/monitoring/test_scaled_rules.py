"""Rules on a faster clock are the same rules: only their durations differ, and none gets too short."""

import re
from dataclasses import replace

import promql_parser as promql
import pytest

from monitoring import alerts, recording
from monitoring.burn_rate import FEWEST_S
from monitoring.expression import mistakes
from monitoring.groups import GROUPS
from monitoring.rule import Alert
from tests.contract.monitoring import promtool
from tests.monitoring import scaled_rules

SCALE = 120
FAST = scaled_rules.scaled_groups(SCALE)
PLAIN = (*recording.GROUPS, *alerts.GROUPS)
"""Groups that are scaled as they stand; those of objectives are made anew on the faster clock."""
DURATION = re.compile(r"(?<=[\[ ])(?:\d+(?:ms|[smhdwy]))+\b")


def seconds(expression):
    """The windows and offsets of an expression, in the order in which they are found."""
    found = []

    def visit(part):
        for duration in (getattr(part, "range", None), getattr(part, "offset", None)):
            if duration:
                found.append(duration.total_seconds())

    promql.walk(promql.parse(expression), pre_visit=visit)
    return found


def without_durations(expression):
    # How it is broken into lines depends on how long it is.
    return re.sub(r"\s", "", DURATION.sub("_", promql.parse(expression).prettify()))


def test_every_rule_is_included_and_valid(tmp_path):
    assert [group.name for group in FAST] == [group.name for group in GROUPS]
    assert [[r.name for r in group.rules] for group in FAST] == [[r.name for r in group.rules] for group in GROUPS]
    assert [mistake for group in FAST for rule in group.rules for mistake in mistakes(rule.expression)] == []
    promtool.check(tmp_path, FAST)


def test_only_durations_change_and_by_the_scale():
    windows = 0
    for before in PLAIN:
        after = next(group for group in FAST if group.name == before.name)
        assert replace(after, rules=(), interval="") == replace(before, rules=(), interval="")
        for rule, fast in zip(before.rules, after.rules, strict=True):
            assert without_durations(fast.expression) == without_durations(rule.expression)
            assert seconds(fast.expression) == [max(FEWEST_S, round(s / SCALE)) for s in seconds(rule.expression)]
            windows += len(seconds(fast.expression))
            kept = {"expression": "", **({"wait": ""} if isinstance(rule, Alert) else {})}
            assert replace(fast, **kept) == replace(rule, **kept)
    assert windows > 100


def test_waits_and_intervals_are_shorter():
    waits = {rule.name: rule.wait for group in FAST for rule in group.rules if isinstance(rule, Alert)}
    assert (waits["EngineSaturated"], waits["NoHealthyReplica"], waits["InternalErrors"]) == ("15s", "1s", "0d")
    assert {group.interval for group in FAST} == {"2s", "5s"}


def test_scale_one_changes_nothing():
    for before, after in zip(GROUPS, scaled_rules.scaled_groups(1), strict=True):
        for rule, same in zip(before.rules, after.rules, strict=True):
            assert seconds(same.expression) == seconds(rule.expression)
            assert without_durations(same.expression) == without_durations(rule.expression)


def test_a_window_with_an_offset_is_scaled_once():
    asked = 'sum(increase(x{a=~"[5m]|b\\\\d"}[12h] offset 1h)) > 4 * x offset 2h'
    assert (
        scaled_rules.scale_expression(asked, 60)
        == 'sum(increase(x{a=~"[5m]|b\\\\d"}[12m] offset 1m)) > 4 * x offset 2m'
    )


@pytest.mark.parametrize(
    ("asked", "scale", "why"),
    [
        ("max_over_time(rate(x[5m])[1h:1m])", 60, "subqueries cannot be scaled"),
        ("rate(x[5m] offset -5m)", 60, "negative"),
        ("rate(x[5m])", 0.5, "a scale is 1 or more, not 0.5"),
        ("rate(x[5m]", 60, "unclosed|expected|unexpected"),
    ],
)
def test_unscalable_expressions_are_rejected(asked, scale, why):
    with pytest.raises(ValueError, match=why):
        scaled_rules.scale_expression(asked, scale)
