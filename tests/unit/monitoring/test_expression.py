"""An expression that can return nothing is found before Prometheus sees it."""

import re

import promql_parser
import pytest

from monitoring.expression import mistakes, operands
from monitoring.groups import GROUPS

EXPRESSIONS = [rule.expression for group in GROUPS for rule in group.rules]
SOME = EXPRESSIONS[:: max(1, len(EXPRESSIONS) // 12)]


@pytest.mark.parametrize(
    ("expression", "mistake"),
    [
        ("sum(", "it does not parse"),
        ("headrace_engines_up", "there is no series headrace_engines_up"),
        ('headrace_engine_up{modl="a"}', "there is no label modl"),
        ("sum by (modl) (headrace_engine_up)", "there is no label modl"),
        ("sum without (modl) (headrace_engine_up)", "there is no label modl"),
        ("sum by (model) (sum by (route) (headrace_errors_total))", "there is no label model, only route"),
        ("rate(headrace_engine_up[5m])", "headrace_engine_up is a gauge, not a counter"),
        ("increase(llm:requests_running:sum[5m])", "llm:requests_running:sum is a gauge"),
        ("rate(sum(headrace_cost_total)[5m:1m])", "must be a counter, not a subquery"),
        (
            "histogram_quantile(0.9, sum by (model) (rate(headrace_time_to_first_token_seconds_bucket[5m])))",
            "there is no label le",
        ),
        (
            "histogram_quantile(0.9, rate(headrace_time_to_first_token_seconds_count[5m]))",
            "headrace_time_to_first_token_seconds_count is not a histogram's bucket",
        ),
        ("headrace_engine_up * on (modl) headrace_engine_slots", "there is no label modl"),
        ("headrace_engine_up * on (model) group_left (route) headrace_engine_slots", "there is no label route"),
        (
            "sum by (model) (headrace_engine_up) / sum by (code) (rate(headrace_errors_total[5m]))",
            "the sides never match",
        ),
        ('label_replace(headrace_engine_up, "a", "$1", "modl", "(.+)")', "there is no label modl"),
        ('llm:requests_running:sum{pod="a"}', "there is no label pod"),
    ],
)
def test_mistakes_in_an_expression_are_named(expression, mistake):
    assert mistake in "\n".join(mistakes(expression))


@pytest.mark.parametrize(
    "expression",
    [
        'up{job="ray"} == 0',
        "sum(rate(headrace_errors_total[5m])) or vector(0)",
        "topk(3, sum by (code) (rate(headrace_errors_total[5m])))",
        'count_values("up", headrace_engine_up)',
        'sum by (a) (label_replace(headrace_engine_up, "a", "$1", "model", "(.+)"))',
        "time() - max by (name) (certmanager_certificate_expiration_timestamp_seconds) > 3600",
        "headrace_engine_leases / on (model, instance) headrace_engine_slots",
        "sum by (model) (rate(headrace_cost_total[5m])) unless on (model) headrace_engine_up > 2",
        "avg_over_time(llm:slots:sum[1h]) / 2 > 1",
    ],
)
def test_valid_expressions_have_no_mistakes(expression):
    assert mistakes(expression) == []


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_of_all_rules_are_valid(expression):
    assert mistakes(expression) == []


@pytest.mark.parametrize("expression", SOME)
def test_a_renamed_metric_or_label_is_noticed(expression):
    names, labels = set(), set()

    def visit(part):
        match part:
            case promql_parser.VectorSelector():
                names.add(part.name)
                labels.update(m.name for m in part.matchers.matchers)
            case promql_parser.AggregateExpr() if part.modifier:
                labels.update(part.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), pre_visit=visit)
    assert names
    for name in names | labels:
        renamed = re.sub(rf'(?<![\w:"]){re.escape(name)}(?![\w:"])', f"{name}x", expression)
        assert mistakes(renamed), renamed


@pytest.mark.parametrize(
    ("expression", "compared"),
    [
        ("up == 0", ["up"]),
        ('absent(up{job="ray"})', ['up{job="ray"}']),
        ("time() - headrace_engine_up > 3600", ["time() - headrace_engine_up"]),
        ("count(up == 0) > 3", ["count(up)"]),
        ("headrace_engine_up < headrace_engine_slots", ["headrace_engine_up", "headrace_engine_slots"]),
        ("(up > 1 and on (job) headrace_engine_up > 2) unless up == 3", ["up", "headrace_engine_up"]),
        ("sum(up) / (sum(headrace_engine_up) > 0) > 0.5", ["sum(up) / (sum(headrace_engine_up))"]),
        ("count(up == bool 0) > 3", ["count(up == bool 0)"]),
    ],
)
def test_operands_of_comparisons_are_extracted(expression, compared):
    assert operands(expression) == compared
