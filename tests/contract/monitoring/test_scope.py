"""Two stacks under one Prometheus, each with its rules: one's fault neither hides in the other nor fires for it."""

from __future__ import annotations

from dataclasses import replace

import promql_parser as promql
import pytest
import yaml

from monitoring import alerts, burn_rate, promtest
from monitoring import rules_file as rules
from monitoring.expression import mistakes
from monitoring.groups import GROUPS
from monitoring.known_series import KNOWN
from monitoring.objectives import OBJECTIVES
from monitoring.rule import Alert
from monitoring.scope import Scope, has_stack_namespace, restrict, restrict_groups
from tests.contract.monitoring import promtool

STACKS = ("one", "two")


def selectors(expression):
    found = []
    promql.walk(promql.parse(expression), found.append)
    return [tree for tree in found if isinstance(tree, promql.VectorSelector)]


def shared(rule):
    """Whether a rule is about nodes, GPUs and certificates, which are the cluster's."""
    return not any(has_stack_namespace(KNOWN[selector.name]) for selector in selectors(rule.expression))


ALERTS = [(group, rule) for group in alerts.GROUPS for rule in group.rules if not shared(rule)]


def of_both(groups):
    """The rules of both stacks, as their charts bring them into one Prometheus."""
    for stack in STACKS:
        yield from (
            replace(group, name=f"{stack}-{group.name}")
            for group in restrict_groups(groups, Scope.for_namespace(stack))
        )


def firing(alert, stack):
    return f'count(ALERTS{{alertname="{alert.name}",severity="{alert.severity}",alertstate="firing",{stack}}}) > bool 0'


def mixed(alert):
    """A test of promtool's in which one stack has what the alert is for, and two what it is not for."""
    series = [
        *promtool.within("one", alert.fires.samples),
        *promtool.within("two", alert.silent.samples),
    ]
    asked = [
        (alert.fires.after, 'namespace="one"', [{"labels": "{}", "value": 1}]),
        (alert.silent.after, 'namespace!="one"', []),
    ]
    return {
        "name": alert.name,
        "interval": promtest.STEP,
        "input_series": [{"series": one.series, "values": one.values} for one in series],
        "promql_expr_test": [
            {"expr": firing(alert, stack), "eval_time": after, "exp_samples": expected}
            for after, stack, expected in asked
        ],
    }


def test_each_alert_fires_for_the_stack_that_it_is_about_and_for_no_other(tmp_path):
    """Each has its own rule file: every test evaluates all rules of its file at every step."""
    tests = []
    for group, alert in ALERTS:
        both = of_both([replace(group, rules=(alert,))])
        (tmp_path / f"{alert.name}.yaml").write_text(rules.text(both))
        test = {"rule_files": [f"{alert.name}.yaml"], "evaluation_interval": promtest.STEP, "tests": [mixed(alert)]}
        (tmp_path / f"{alert.name}.test.yaml").write_text(yaml.safe_dump(test))
        tests.append(f"{alert.name}.test.yaml")
    promtool.content(tmp_path, "test", "rules", *tests)


def test_the_budget_of_one_stack_is_not_that_of_the_other(tmp_path):
    objective = OBJECTIVES[0]
    groups = burn_rate.groups(objective)
    [alert] = [rule for rule in groups[0].rules if isinstance(rule, Alert)]
    promtool.judge(tmp_path, list(of_both(groups)), [mixed(alert)], promtest.STEP)


def test_rules_without_a_stack_label_mix_stacks(tmp_path):
    """What the tests above rely on: the same series make the alert that no rule of a stack makes."""
    (group, alert) = next((group, alert) for group, alert in ALERTS if alert.name == "HeadraceMetricsGone")
    (tmp_path / "rules.yaml").write_text(rules.text([replace(group, rules=(alert,))]))
    test = {"rule_files": ["rules.yaml"], "evaluation_interval": promtest.STEP, "tests": [mixed(alert)]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(test))
    assert promtool.run(tmp_path, "test", "rules", "test.yaml").returncode == 1


def test_every_selector_of_a_rule_is_of_one_stack():
    known = {
        name: replace(one, labels=(*one.labels, "namespace")) if one.source == "rule" else one
        for name, one in KNOWN.items()
    }
    for group in restrict_groups(GROUPS, Scope.for_namespace("one")):
        for rule in group.rules:
            assert mistakes(rule.expression, known) == [], rule.name
            for selector in selectors(rule.expression):
                held_to = {m.value for m in selector.matchers.matchers if m.name == "namespace"}
                engine = KNOWN[selector.name].source in ("vllm", "llama.cpp")
                assert held_to == {"one|" if engine else "one"} or shared(rule), rule.name
            made = (rule.labels if isinstance(rule, Alert) else rule.fixed).get("namespace")
            assert made == (None if shared(rule) else "one"), rule.name


def test_unscoped_rules_concern_shared_resources_only():
    found = [rule for group in GROUPS for rule in group.rules if shared(rule)]
    assert found
    read = [KNOWN[selector.name] for rule in found for selector in selectors(rule.expression)]
    assert all(series.source in ("dcgm", "cert-manager") or series.name.startswith("kube_node_") for series in read)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("up", 'up{namespace="a"}'),
        ("min(ray_serve_application_status)", 'min(ray_serve_application_status{namespace="a"})'),
        (
            'sum(rate(headrace_errors_total{code="x"}[5m] offset 1h))',
            'sum(rate(headrace_errors_total{code="x",namespace="a"}[5m] offset 1h))',
        ),
        ("absent(vllm:num_requests_running)", 'absent(vllm:num_requests_running{namespace=~"a|"})'),
        ("max by (gpu) (DCGM_FI_DEV_GPU_TEMP) > 90", "max by (gpu) (DCGM_FI_DEV_GPU_TEMP) > 90"),
        ("kube_node_status_condition", "kube_node_status_condition"),
        ("certmanager_certificate_ready_status", "certmanager_certificate_ready_status"),
    ],
)
def test_selectors_get_the_namespace_matcher(expression, expected):
    assert restrict(expression, Scope.for_namespace("a")) == expected


def test_unknown_series_are_errors():
    with pytest.raises(KeyError, match="unheard"):
        restrict("sum(unheard)", Scope.for_namespace("a"))
