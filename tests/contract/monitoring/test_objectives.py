"""Objectives speak of what the catalogue measures, and their alerts fire when a budget burns and not else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from monitoring import burn_rate, objectives
from monitoring.burn_rate import BURN_RATES, Clock, groups, samples
from monitoring.dashboards.links import selected_series
from monitoring.objective import WINDOWS, bucket_selector, counter_selector
from monitoring.objectives import GROUPS, OBJECTIVES
from monitoring.rule import Alert, Group, Recording, Sample
from monitoring.series import OWN
from serving.config import Objectives
from serving.telemetry import catalogue as c
from tests.contract.monitoring import promtool

ROOT = Path(__file__).parents[3]
ALERTS = [rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert)]
RECORDED = [rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)]
TICK = 5
"""Seconds between two evaluations and between two scrapes of a scaled test."""

shapes = pytest.mark.parametrize(
    "objective",
    [o for o in OBJECTIVES if o.name in ("availability", "time_to_first_token", "retrieval_latency")],
    ids=["outcomes", "judged", "times"],
)
each = pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: o.name)


def named(name):
    return next(o for o in OBJECTIVES if o.name == name)


def test_only_the_end_of_a_bucket_is_a_threshold():
    assert bucket_selector(c.TTFT_SECONDS, 2.5) == 'headrace_time_to_first_token_seconds_bucket{le="2.5"}'
    assert bucket_selector(c.TTFT_SECONDS, 30, 'model="m"') == (
        'headrace_time_to_first_token_seconds_bucket{model="m", le="30.0"}'
    )
    with pytest.raises(ValueError, match=r"no bucket with the bound 2; it has 0\.005, "):
        bucket_selector(c.TTFT_SECONDS, 2)
    with pytest.raises(ValueError, match="no bucket with the bound 1; it has none"):
        bucket_selector(c.ERRORS, 1)


def test_gauges_are_rejected():
    with pytest.raises(ValueError, match="is a gauge"):
        counter_selector(c.IN_FLIGHT)


@pytest.mark.parametrize("objective", [0.9, 1.0, 99.5])
def test_an_objective_whose_alerts_could_never_fire_is_refused(objective):
    with pytest.raises(ValueError, match=r"above 0\.9306 and below 1"):
        replace(OBJECTIVES[0], objective=objective)


@each
def test_good_requests_and_all_are_counters_with_the_labels_that_are_kept(objective):
    for selector in (*objective.good, *objective.total):
        name, *matched = re.findall(r'(\w+)(?:=~?"[^"]*")?(?=[{,}]|$)', selector)
        assert OWN[name].kind == "counter"
        assert set(matched) <= set(OWN[name].labels)
        assert set(objective.labels) <= set(OWN[name].labels)


def test_every_expression_that_dashboards_draw_is_recorded():
    names = {rule.name for rule in RECORDED}
    assert len(names) == len(RECORDED)
    drawn = {name for o in OBJECTIVES for e in o.expressions.values() for name in selected_series(e)}
    assert drawn == names - {o.errors for o in OBJECTIVES}


def test_every_alert_has_its_runbook():
    assert len({alert.name for alert in ALERTS}) == len(ALERTS) == 2 * len(OBJECTIVES)
    for alert in ALERTS:
        page = (ROOT / "monitoring" / "runbooks" / f"{alert.name}.md").read_text()
        assert page.startswith(f"# {alert.name}\n")
        objective = next(o for o in OBJECTIVES if alert.name in (o.alert, o.slow_alert))
        assert any(name in page for name in (objective.ratio("1h"), objective.ratio("1d"), objective.ratio("3d")))
        spoken = set(re.findall(r"\b(?:stack|model|model_length):\w+:\w+", page))
        assert spoken <= {rule.name for rule in RECORDED}


def test_runbook_queries_use_existing_series(tmp_path):
    pages = [(ROOT / "monitoring" / "runbooks" / f"{alert.name}.md").read_text() for alert in ALERTS]
    blocks = [block for page in pages for block in re.findall(r"```promql\n(.*?)```", page, re.DOTALL)]
    queries = [line for block in blocks for line in block.splitlines()]
    assert len(queries) > len(ALERTS)
    asked = set(re.findall(r"\bheadrace_\w+", " ".join(queries)))
    assert asked <= OWN.keys()
    rules = [Recording(f"asked:{i}", query, "1", (), "") for i, query in enumerate(queries)]
    promtool.check(tmp_path, [Group("runbooks", rules)])


def test_the_page_documents_every_objective():
    page = (ROOT / "docs" / "explanation" / "objectives.md").read_text()
    for o in OBJECTIVES:
        whose = ", ".join(o.labels) or "stack"
        assert f"| `{o.name}` | {o.help} | {100 * o.objective:g} % | {whose} | {o.owner} |" in page


def test_durations_are_scaled_down_to_a_minimum():
    assert [Clock()(window) for window in WINDOWS] == list(WINDOWS)
    assert [Clock(60)(window) for window in WINDOWS] == ["20s", "30s", "1m", "2m", "6m", "24m", "72m"]
    assert Clock(60)("2m", 0) == "2s"


@each
def test_each_alert_fires_and_is_silent_as_its_cases_say(tmp_path, objective):
    promtool.judge(
        tmp_path,
        groups(objective),
        [
            promtool.count(alert.name, case.after, case.samples, firing, "30s")
            for alert in ALERTS
            if alert.name in (objective.alert, objective.slow_alert)
            for firing, case in ((1, alert.fires), (0, alert.silent))
        ],
        "30s",
    )


def test_the_rules_are_valid(tmp_path):
    promtool.check(tmp_path, GROUPS)


@shapes
@pytest.mark.parametrize("one", BURN_RATES, ids=lambda b: b.long)
def test_each_burn_is_seen_over_both_of_its_windows(tmp_path, objective, one):
    # Scaled so that the long window is 48 ticks and the short one 4, which are the fewest.
    rules = groups(objective, [one], scale=Clock().seconds(one.long) / (48 * TICK))
    (alert,) = [rule for group in rules for rule in group.rules if isinstance(rule, Alert)]
    above, below, far_above = 1.2 * one.rate, 0.8 * one.rate, min(2 * one.rate, 1 / objective.budget)
    histories = [
        ([(60, above)], 1),
        ([(60, below)], 0),
        ([(48, far_above), (10, 0)], 0),  # it is over, and the long window has not forgotten
        ([(40, 0), (8, far_above)], 0),  # it has burnt little so far
        ([(40, 0), (48, above)], 1),
    ]
    tests = [
        promtool.count(
            alert.name,
            f"{sum(ticks for ticks, _ in history) * TICK - TICK}s",
            samples(objective, [(ticks, rate * objective.budget) for ticks, rate in history]),
            firing,
            f"{TICK}s",
        )
        for history, firing in histories
    ]
    promtool.judge(tmp_path, rules, tests, f"{TICK}s")


def test_no_alert_fires_without_requests(tmp_path):
    objective = named("time_to_first_token")
    rules = groups(objective)
    idle = [Sample(objective.example.good, "5x240"), Sample(objective.example.bad, "895x240")]
    tests = [
        promtool.count(name, "20m", seen, 0, "30s")
        for name in (objective.alert, objective.slow_alert)
        for seen in (idle, [])
    ]
    promtool.judge(tmp_path, rules, tests, "30s")


@pytest.mark.parametrize(("bad", "fires"), [(burn_rate.FEW - 2, 0), (3 * burn_rate.FEW, 1)])
def test_no_alert_fires_for_a_few_bad_requests(tmp_path, bad, fires):
    objective = named("retrieval_latency")
    seen = [Sample(objective.example.good, "0x240"), Sample(objective.example.all, f"0x9 1+1x{bad - 1} {bad}x240")]
    after = f"{(14 + bad) * 30}s"
    promtool.judge(tmp_path, groups(objective), [promtool.count(objective.alert, after, seen, fires, "30s")], "30s")


@pytest.mark.parametrize("name", c.JUDGED)
def test_each_model_is_judged_by_itself_and_not_by_too_few_answers(tmp_path, name):
    """Of one minute: `slow` has as many late answers as are judged, `rare` one fewer, and `quick` has none late."""
    objective, few = named(name), objectives.FEWEST_ANSWERS
    late, answers = {"slow": few, "rare": few - 1, "quick": 0}, {"slow": few, "rare": few - 1, "quick": 10 * few}
    seen = [
        Sample(
            f'{c.JUDGED_ANSWERS.name}{{model="{model}",objective="{name}",length="long",met="{met}"}}', f"0x9 {n}x240"
        )
        for model in late
        for met, n in (("no", late[model]), ("yes", answers[model] - late[model]))
    ]
    others = [
        Sample(f'{c.JUDGED_ANSWERS.name}{{model="quick",objective="{other}",length="long",met="no"}}', "0x9 900x240")
        for other in c.JUDGED
        if other != name
    ]
    firing = [{"labels": '{model="slow"}', "value": 1}]
    length = ', length="long"' if "length" in objective.labels else ""
    alerting = {
        "expr": f'count by (model) (ALERTS{{alertname="{objective.alert}", alertstate="firing"}})',
        "eval_time": "9m",
        "exp_samples": firing,
    }
    ratio = objective.ratio("1h")
    shown = {f'{{__name__="{ratio}", model="{model}"{length}}}': late[model] / answers[model] for model in late}
    shares = {
        "expr": ratio,
        "eval_time": "9m",
        "exp_samples": [{"labels": labels, "value": value} for labels, value in shown.items()],
    }
    tests = [promtool.ask(asked, [*seen, *others], "30s") for asked in (alerting, shares)]
    promtool.judge(tmp_path, groups(objective), tests, "30s")


def test_before_the_first_good_request_all_are_bad(tmp_path):
    objective = named("availability")
    refused = 'headrace_errors_total{route="/v1/responses", code="overloaded"}'
    tests = [
        promtool.count(objective.alert, "10m", [Sample(series, "0+10x60")], 1, "30s")
        for series in (objective.example.bad, refused)
    ]
    promtool.judge(tmp_path, groups(objective), tests, "30s")


@shapes
def test_the_remaining_budget_is_computed(tmp_path, objective):
    asked = {
        "expr": f"round({objective.budget_left}, 0.001)",
        "eval_time": "15m",
        "exp_samples": [{"labels": '{model="m"}' if objective.labels else "{}", "value": 0.75}],
    }
    seen = samples(objective, [(60, 0.25 * objective.budget)])
    promtool.judge(tmp_path, groups(objective), [promtool.ask(asked, seen, "30s")], "30s")


LABELS = '{{__name__="{}", model="m"}}'


def test_each_request_counts_once_and_whole_from_its_end_on(tmp_path):
    """Four streams, of which the first begins too late: the share is a quarter at once, not after the window."""
    objective = named("time_to_first_token")
    seen = [Sample(objective.example.good, "0x17 1 2 3x40"), Sample(objective.example.bad, "0x13 1x48")]
    asked = [
        {
            "expr": objective.ratio("5m"),
            "eval_time": "150s",
            "exp_samples": [{"labels": LABELS.format(objective.ratio("5m")), "value": 0.25}],
        },
        {
            "expr": f"round({objective.budget_left}, 0.001)",
            "eval_time": "4m",
            "exp_samples": [{"labels": '{model="m"}', "value": -4}],
        },
    ]
    promtool.judge(tmp_path, groups(objective), [promtool.ask(one, seen, "5s") for one in asked], "30s")


def test_none_is_bad_where_all_are_good(tmp_path):
    """A young counter and one that had counted before are extrapolated by different amounts: neither is here."""
    objective = named("retrieval_latency")
    seen = [Sample(objective.example.good, "0+7x60"), Sample(objective.example.all, "100+7x60")]
    ratio = objective.ratio("5m")
    asked = {"expr": ratio, "eval_time": "3m", "exp_samples": [{"labels": f'{{__name__="{ratio}"}}', "value": 0}]}
    promtool.judge(tmp_path, groups(objective), [promtool.ask(asked, seen, "5s")], "30s")


def test_models_without_objectives_have_the_times_that_are_promised():
    promised = {re.search(r"`objectives\.(\w+)`", o.help)[1]: o.threshold_s for o in OBJECTIVES if o.name in c.JUDGED}
    assert promised == Objectives().model_dump(exclude={"end_to_end_by_length_s"})


def test_a_class_of_lengths_is_judged_apart(tmp_path):
    """The late long answers of a model do not drown in its many short ones, and its short ones raise no alert."""
    objective, few = named("end_to_end"), objectives.FEWEST_ANSWERS
    counts = {("long", "no"): few, ("short", "yes"): 100 * few, ("short", "no"): 1, ("long", "yes"): 0}
    seen = [
        Sample(
            f'{c.JUDGED_ANSWERS.name}{{model="m",objective="end_to_end",length="{length}",met="{met}"}}', f"0x9 {n}x240"
        )
        for (length, met), n in counts.items()
    ]
    alerting = {
        "expr": f'count by (model, length) (ALERTS{{alertname="{objective.alert}", alertstate="firing"}})',
        "eval_time": "9m",
        "exp_samples": [{"labels": '{model="m", length="long"}', "value": 1}],
    }
    promtool.judge(tmp_path, groups(objective), [promtool.ask(alerting, seen, "30s")], "30s")
