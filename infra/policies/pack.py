"""Converts the rules to a Pulumi policy pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyConfigSchema,
    PolicyResource,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    Secret,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from infra.policies.access import SECRET_DATA, plain_secret_data
from infra.policies.catalogue import RULES
from infra.policies.manifest import PlannedResource, from_engine_value
from infra.policies.rule import REASON_CHARACTERS, Rule, RuleSettings, Violation, exception_reason, violations
from infra.policies.values import UNKNOWN, SecretValue

NAME = "headrace"

CONFIG = PolicyConfigSchema(
    {
        "exceptions": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["resource", "reason"],
                "properties": {
                    "resource": {"type": "string"},
                    "reason": {"type": "string", "minLength": REASON_CHARACTERS},
                },
            },
        }
    }
)


class ExceptionReport:
    """Collects violations with an exception and reports them at the end, so that no exception is silent."""

    def __init__(self) -> None:
        self._found: dict[str, Violation] = {}

    def add(self, violation: Violation) -> None:
        """Adds a violation, once."""
        self._found[str(violation)] = violation

    def report(self, _: StackValidationArgs, report: ReportViolation) -> None:
        """Reports all violations."""
        for text, violation in self._found.items():
            report(text, violation.resource.urn or None)


def policies() -> list[Policy]:
    """Returns one policy per rule, and finally the one that reports exceptions."""
    excepted = ExceptionReport()
    rule_policies = [
        _encryption_policy(r, excepted) if r.name == SECRET_DATA else _validation_policy(r, excepted)
        for r in RULES.values()
    ]
    last = StackValidationPolicy(
        "exceptions",
        "Resources that have an exception from a rule.",
        excepted.report,
        enforcement_level=EnforcementLevel.ADVISORY,
    )
    return [*rule_policies, last]


def _validation_policy(rule: Rule, excepted: ExceptionReport) -> Policy:
    def report_violations(
        resources: Sequence[PlannedResource], config: Mapping[str, Any], report: ReportViolation
    ) -> None:
        for violation in violations(rule, resources, RuleSettings.from_config(config)):
            if violation.exception:
                excepted.add(violation)
            else:
                report(f"{violation.resource.label}: {violation.message}.\n{rule.remediation}", violation.resource.urn)

    def validate_resource(args: ResourceValidationArgs, report: ReportViolation) -> None:
        report_violations([_resource(args)], args.get_config(), report)

    def validate_stack(args: StackValidationArgs, report: ReportViolation) -> None:
        report_violations([_resource(r) for r in args.resources], args.get_config(), report)

    options: dict[str, Any] = {
        "enforcement_level": EnforcementLevel(rule.level),
        "config_schema": CONFIG,
        "remediation_steps": rule.remediation,
    }
    if rule.stack is not None:
        return StackValidationPolicy(rule.name, rule.title, validate_stack, **options)
    return ResourceValidationPolicy(rule.name, rule.title, validate_resource, **options)


def _encryption_policy(rule: Rule, excepted: ExceptionReport) -> Policy:
    """Returns the policy that encrypts plain secrets. Only a remediation receives the marks of secret values."""

    async def remediate(args: ResourceValidationArgs) -> Mapping[str, Any]:
        sent: Mapping[str, Any] = args.props["__target"]  # bypasses the SDK's proxy, which removes the marks
        resource = _resource(args, {k: _with_secret_marks(v) for k, v in sent.items()})
        found = list(plain_secret_data(resource))
        if found and (reason := exception_reason(rule.name, resource, RuleSettings.from_config(args.get_config()))):
            excepted.add(Violation(rule, resource, "contains plain text", reason))
            return {}
        return _encrypt(sent, found)

    return ResourceValidationPolicy(
        rule.name,
        rule.title,
        remediate=remediate,
        enforcement_level=EnforcementLevel.REMEDIATE,
        config_schema=CONFIG,
        remediation_steps=rule.remediation,
    )


def _encrypt(sent: Mapping[str, Any], found: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Returns the properties with the fields in `found` encrypted; empty, which changes nothing, without fields."""
    if not found:
        return {}
    props = dict(sent)
    for field, key in found:
        props[field] = {**props[field], key: Secret(props[field][key])}
    return props


def _resource(args: ResourceValidationArgs | PolicyResource, props: Mapping[str, Any] | None = None) -> PlannedResource:
    return PlannedResource(
        args.resource_type,
        args.name,
        _plain_copy(args.props) if props is None else props,
        args.urn,
        # A resource without a provider is a component, which is not sent to a provider.
        None if args.provider is None else args.provider.name,
        marks_secrets=props is not None,
    )


def _plain_copy(value: Any) -> Any:
    """Copies the SDK's proxy objects, which raise an error for unknown values, to plain values."""
    if isinstance(value, Mapping):
        return {str(k): _plain_item(value, k) for k in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain_item(value, i) for i in range(len(value))]
    return from_engine_value(value)


def _plain_item(holder: Any, key: Any) -> Any:
    try:
        return _plain_copy(holder[key])
    except UnknownValueError:
        return UNKNOWN


def _with_secret_marks(value: Any) -> Any:
    if isinstance(value, Secret):
        return SecretValue(_with_secret_marks(value.value))
    if isinstance(value, Mapping):
        return {str(k): _with_secret_marks(v) for k, v in value.items()}
    return [_with_secret_marks(v) for v in value] if isinstance(value, list) else from_engine_value(value)
