"""Which alerts silence others: the consequences of a cause, and never what is more urgent than it."""

from __future__ import annotations

import pytest
import yaml

from infra.addons.monitoring import MONITORING
from monitoring import alert_evidence, output_files
from monitoring.expression import labels
from monitoring.groups import GROUPS
from monitoring.inhibitions import INHIBITIONS, document
from monitoring.objectives import OBJECTIVES
from monitoring.output_files import CHARTS
from monitoring.rule import Alert
from monitoring.scope import LABEL, restrict_groups
from tests.contract.monitoring.incidents.incident import INCIDENTS
from tests.monitoring.inhibition import mistakes, silenced
from tests.unit.infra.test_addons import config

ALERTS = {rule.name: rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert)}
RULES = document()["inhibit_rules"]
URGENCY = ("none", "info", "ticket", "page")
each_rule = pytest.mark.parametrize("rule", INHIBITIONS, ids=lambda each: f"{each.cause}-{len(each.consequences)}")


def alert(name, **more):
    """The labels of an alert as Prometheus sends them, where each label has one value."""
    made = {label: f"a {label}" for label in labels(ALERTS[name].expression) if label != LABEL}
    return {**made, LABEL: "blue", "alertname": name, **more}


def notified(names, **more):
    """Which of the alerts notify somebody."""
    firing = [alert(name, **more) for name in names]
    quiet = silenced(RULES, firing)
    return {each["alertname"] for each in firing if each not in quiet}


@each_rule
def test_a_consequence_is_another_alert_and_never_more_urgent(rule):
    cause = ALERTS[rule.cause]
    assert cause.name not in rule.consequences
    assert len(set(rule.consequences)) == len(rule.consequences) >= 1
    urgent = [n for n in rule.consequences if URGENCY.index(ALERTS[n].severity) > URGENCY.index(cause.severity)]
    assert urgent == []
    assert not {ALERTS[name].owner for name in rule.consequences} & {"security"}


@each_rule
def test_both_sides_have_the_labels_that_must_be_equal(rule):
    """Alertmanager takes a missing label for an empty one: the rule would never hold, or for too many."""
    for name in (rule.cause, *rule.consequences):
        assert set(rule.equal) <= labels(ALERTS[name].expression), name


def test_both_sides_are_of_a_stack_or_neither_is():
    restricted = {a.name: a for g in restrict_groups(GROUPS, CHARTS) for a in g.rules if isinstance(a, Alert)}

    def of_a_stack(name):
        return LABEL in restricted[name].labels or LABEL in labels(ALERTS[name].expression)

    mixed = [each for each in INHIBITIONS if len({of_a_stack(n) for n in (each.cause, *each.consequences)}) > 1]
    assert mixed == []


def test_no_alert_silences_itself_by_way_of_others():
    after = {
        each.cause: {n for other in INHIBITIONS if other.cause == each.cause for n in other.consequences}
        for each in INHIBITIONS
    }
    for cause in after:
        reached, todo = set(), [cause]
        while todo:
            new = after.get(todo.pop(), set()) - reached
            reached |= new
            todo += new
        assert cause not in reached


def test_the_form_is_the_documented_one():
    assert [found for rule in RULES if (found := mistakes(rule))] == []
    assert len(RULES) == len(INHIBITIONS) > 20


@pytest.mark.parametrize(
    ("rule", "found"),
    [
        ({"source_matchers": ['a="b"'], "target_matchers": ['a="c"'], "name": "n"}, "there is no key name"),
        ({"source_matchers": ['a="b"'], "equal": ["a"]}, "it silences everything"),
        ({"target_matchers": ["a=b=c"]}, "a=b=c is no matcher"),
        ({"target_matchers": ["a=b"], "equal": ["a-b"]}, "a-b is no label"),
    ],
)
def test_a_wrong_form_is_told(rule, found):
    assert mistakes(rule) == [found]


FAULTS = {
    "more concurrent requests than are admitted": {"RequestQueueGrows"},
    "Ray's control service and its agent are killed": {"GcsDown", "HeadraceMetricsGone"},
    "the data folder's disk is filled": {"DataDiskFull"},
    "the exporter is killed": {"HeadraceMetricsGone"},
}
"""Who notifies while a fault of the running stack fires all of its alerts; of other faults, all of them do."""


@pytest.mark.parametrize("fault", alert_evidence.INJECTED)
def test_faults_of_the_running_stack_notify_of_their_causes(fault):
    fired = set(alert_evidence.INJECTED[fault])
    expected = FAULTS.get(fault, fired - {"QuotaNear"} if "QuotaUsedUp" in fired else fired)
    assert notified(fired) == expected


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda each: each.name)
def test_the_alert_that_names_the_cause_of_an_incident_notifies(incident):
    """Or what wakes somebody does, whose runbook names the same cause."""
    told = notified({incident.alert, *incident.also})
    assert told >= (incident.also or {incident.alert})


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda each: each.name)
def test_a_page_silences_the_ticket_of_its_objective_for_the_same_model_of_the_same_stack(objective):
    page, ticket = alert(objective.alert), alert(objective.slow_alert)
    assert silenced(RULES, [page, ticket]) == [ticket]
    for label in (LABEL, *objective.labels):
        assert silenced(RULES, [page, {**ticket, label: "another"}]) == []


def test_another_stacks_alerts_are_not_silenced():
    here, there = alert("HeadraceMetricsGone"), alert("ScrapeMissing", namespace="green")
    assert silenced(RULES, [here, there]) == []
    assert silenced(RULES, [here, {**there, LABEL: "blue"}]) == [{**there, LABEL: "blue"}]


def test_alerts_without_the_label_of_a_stack_are_of_one_stack():
    firing = [{k: v for k, v in alert(name).items() if k != LABEL} for name in ("HeadraceMetricsGone", "ScrapeMissing")]
    assert [each["alertname"] for each in silenced(RULES, firing)] == ["ScrapeMissing"]


def test_what_is_silenced_silences_too():
    chain = ["DataDiskFull", "DatabaseErrors", "FeedbackFails"]
    assert notified(chain) == {"DataDiskFull"}
    assert notified([*chain, "SecretsInAnswers"]) == {"DataDiskFull", "SecretsInAnswers"}


def test_they_are_in_the_files_and_in_the_add_on():
    assert yaml.safe_load(output_files.output_files()["alertmanager/inhibit_rules.yaml"]) == document()
    values = MONITORING.values(config(), MONITORING.images(config()))
    given = values["alertmanager"]["config"]["inhibit_rules"]
    assert given[-len(RULES) :] == RULES
    assert [found for rule in given if (found := mistakes(rule))] == []


def test_kubernetes_alerts_are_silenced_as_the_chart_does_without_ours():
    given = MONITORING.values(config(), MONITORING.images(config()))["alertmanager"]["config"]["inhibit_rules"]
    common = {"alertname": "KubePodCrashLooping", "namespace": "a"}
    page, warning = ({**common, "severity": severity} for severity in ("critical", "warning"))
    assert silenced(given, [page, warning]) == [warning]
    info, switch = (
        {"alertname": name, "severity": severity, "namespace": "a"}
        for name, severity in (("CPUThrottlingHigh", "info"), ("InfoInhibitor", "none"))
    )
    assert silenced(given, [info]) == []
    assert silenced(given, [info, switch]) == [info, switch]
