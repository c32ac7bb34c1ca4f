from __future__ import annotations

import copy
import itertools
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.layout import CHECKOUT
from infra.policies import exposure
from infra.policies.catalogue import RULES, evaluate, evaluate_manifests
from infra.policies.exposure import REQUIRED_SETTINGS
from infra.policies.manifest import PlannedResource, from_manifest
from infra.policies.rule import RuleSettings, violations
from infra.policies.values import UNKNOWN, SecretValue
from serving.config import Limits, ServingConfig, serve_document
from tests.unit.policies.cases import CASES, Case, of
from tests.unit.policies.engine import from_engine
from tests.unit.policies.whole import changed, whole

WHOLE = of(whole())
PASSING = [c for c in CASES if not c.finding]
FAILING = [c for c in CASES if c.finding]


def test_the_pack_has_enough_rules() -> None:
    assert len(RULES) >= 20


def test_the_stack_without_fault_breaks_no_rule() -> None:
    assert [str(v) for v in evaluate_manifests(whole())] == []


@pytest.mark.parametrize("case", PASSING, ids=str)
def test_rules_accept_valid_objects(case: Case) -> None:
    assert [str(v) for v in violations(RULES[case.rule], case.resources)] == []


@pytest.mark.parametrize("case", FAILING, ids=str)
def test_rules_find_violations(case: Case) -> None:
    found = evaluate(case.resources)
    assert case.finding in " ".join(str(v) for v in found if v.rule.name == case.rule)
    assert {v.rule.name for v in found} == {case.rule, *case.also}, [str(v) for v in found]


@pytest.mark.parametrize("name", RULES)
def test_every_rule_has_both_cases_a_remediation_and_documentation(name: str) -> None:
    rule = RULES[name]
    assert {bool(c.finding) for c in CASES if c.rule == name} == {True, False}
    assert rule.title.endswith(".")
    assert rule.remediation.endswith(".")
    assert len(rule.remediation) > 30
    assert (rule.check is None) != (rule.stack is None)
    assert f"### {name}\n" in (CHECKOUT / "docs" / "reference" / "policies.md").read_text(encoding="utf-8")


def test_the_limits_rule_reads_the_serve_document() -> None:
    config = ServingConfig.model_fields
    assert {path[0] for path in REQUIRED_SETTINGS} <= config.keys()
    assert {path[1] for path in REQUIRED_SETTINGS if path[0] == "limits"} <= Limits.model_fields.keys()
    assert exposure.APPLICATION == serve_document.APPLICATION


def test_no_module_hides_one_of_the_standard_library() -> None:
    modules = {p.stem for p in (CHECKOUT / "infra" / "policies").glob("*.py")} - {"__init__", "__main__"}
    assert not modules & sys.stdlib_module_names


# Values that are not known


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every path into a value."""
    if path:
        yield path
    children: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    result = copy.deepcopy(value)
    node = result
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = new
    return result


def with_one(index: int, props: Any, **more: Any) -> list[PlannedResource]:
    changed = PlannedResource(WHOLE[index].token, WHOLE[index].name, props, **more)
    return [*WHOLE[:index], changed, *WHOLE[index + 1 :]]


@pytest.mark.parametrize("index", range(len(whole())), ids=lambda i: whole()[i]["kind"])
def test_unknown_values_violate_no_rule(index: int) -> None:
    serve_document = whole()[index]
    for path in places(serve_document):
        found = evaluate(with_one(index, replaced(serve_document, path, UNKNOWN)))
        assert [str(v) for v in found] == [], path


@pytest.mark.parametrize("case", FAILING, ids=str)
def test_known_values_are_checked_when_others_are_unknown(case: Case) -> None:
    """One unknown label of every object changes no finding."""
    resources = [
        PlannedResource(r.token, r.name, {**r.props, "unrelated": UNKNOWN}, r.urn, r.provider, r.marks_secrets)
        for r in case.resources
    ]
    assert [str(v) for v in violations(RULES[case.rule], resources)] == [
        str(v) for v in violations(RULES[case.rule], case.resources)
    ]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(UNKNOWN),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3) | inner.map(SecretValue)
    ),
    max_leaves=6,
)
EVERYWHERE = [(i, path) for i, d in enumerate(whole()) for path in places(d)]


@given(st.sampled_from(EVERYWHERE), JUNK)
def test_no_rule_crashes_over_nonsense(place: tuple[int, tuple[Any, ...]], junk: Any) -> None:
    index, path = place
    props = replaced(WHOLE[index].props, path, junk)
    for violation in evaluate(with_one(index, props, urn="urn", provider="cluster", marks_secrets=True)):
        assert str(violation)


def test_unknown_values_and_secrets_of_the_engine_are_read() -> None:
    props = {
        "spec": {
            "a": "04da6b54-80e4-46f7-96ec-b56ff0331ba9",
            "b": {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": [2.0]},
        }
    }
    read = from_engine("kubernetes:core/v1:Pod", "p", props)
    assert read.props == {"spec": {"a": UNKNOWN, "b": SecretValue([2])}}
    assert "2" not in repr(read.props)
    assert (read.api_version, read.group, read.kind) == ("v1", "", "Pod")
    assert from_manifest({"apiVersion": "apps/v1", "kind": "Deployment"}).token == "kubernetes:apps/v1:Deployment"


def test_a_secret_value_is_judged_like_another() -> None:
    every = changed("deployment", "spec/template/spec/hostNetwork", True)
    hidden = [PlannedResource(r.token, r.name, {k: SecretValue(v) for k, v in r.props.items()}) for r in of(every)]
    assert {v.rule.name for v in evaluate(hidden)} == {"no-host-access"}


# Exceptions

FAULT = ("deployment", "spec/template/spec/hostNetwork", True)
REASON = "reads the node's own counters"


def test_an_annotation_excepts_with_its_reason() -> None:
    every = changed(*FAULT)
    [fault] = [d for d in every if d["kind"] == "Deployment"]
    fault["metadata"]["annotations"] = {"policy.headrace.io/no-host-access": REASON}
    [found] = evaluate_manifests(every)
    assert found.exception == REASON
    assert REASON in str(found)


def test_an_annotation_without_a_reason_excepts_nothing() -> None:
    every = changed(*FAULT)
    [fault] = [d for d in every if d["kind"] == "Deployment"]
    fault["metadata"]["annotations"] = {"policy.headrace.io/no-host-access": " yes "}
    found = evaluate_manifests(every)
    assert {(v.rule.name, v.exception) for v in found} == {("no-host-access", ""), ("exceptions-have-reasons", "")}


@pytest.mark.parametrize(
    ("pattern", "excepted"),
    [("Deployment/headrace/*", True), ("exporter", True), ("Deployment/other/*", False), ("*/headrace", False)],
)
def test_a_setting_excepts_what_its_pattern_names(pattern: str, excepted: bool) -> None:
    config = {"no-host-access": {"exceptions": [{"resource": pattern, "reason": REASON}]}}
    [found] = evaluate_manifests(changed(*FAULT), config)
    assert bool(found.exception) is excepted


def test_a_setting_excepts_from_its_own_rule_only() -> None:
    config = {"seccomp": {"exceptions": [{"resource": "*", "reason": REASON}]}}
    [found] = evaluate_manifests(changed(*FAULT), config)
    assert found.exception == ""


@pytest.mark.parametrize("exception", [{}, {"resource": "*"}, {"resource": "*", "reason": "short"}, "text", 1])
def test_a_setting_without_pattern_or_reason_is_refused(exception: Any) -> None:
    with pytest.raises(ValueError, match="written `reason`"):
        RuleSettings.from_config({"exceptions": [exception]})


def test_rules_change_no_object() -> None:
    before = json.dumps(whole(), sort_keys=True)
    list(itertools.chain.from_iterable(violations(r, of(whole())) for r in RULES.values()))
    assert json.dumps(whole(), sort_keys=True) == before
