"""Rules, their registration and their evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal

from infra.policies.manifest import PlannedResource
from infra.policies.values import UNKNOWN, known_fields, known_members, lookup

ANNOTATION = "policy.headrace.io/"
"""Prefix of annotations that except an object from a rule, followed by the rule's name; the value is the reason."""

REASON_CHARACTERS = 10
"""Least length of a reason."""

Level = Literal["mandatory", "advisory"]
Check = Callable[[PlannedResource], Iterator[str]]
StackCheck = Callable[[Sequence[PlannedResource]], Iterator[tuple[PlannedResource, str]]]


@dataclass(frozen=True)
class Rule:
    """A rule: `check` examines one resource, or `stack` all resources together."""

    name: str
    title: str
    """The requirement, as a sentence."""
    remediation: str
    level: Level
    check: Check | None = None
    stack: StackCheck | None = None

    @property
    def module(self) -> str:
        """Name of the module that defines the rule."""
        return str(getattr(self.check or self.stack, "__module__", ""))


@dataclass(frozen=True)
class Violation:
    """A violation of a rule by a resource; `exception` is the reason why it is allowed, if it is."""

    rule: Rule
    resource: PlannedResource
    message: str
    exception: str = ""

    def __str__(self) -> str:
        text = f"{self.resource.label}: {self.message} [{self.rule.name}]"
        return f"{text} (excepted: {self.exception})" if self.exception else text


@dataclass(frozen=True)
class RuleSettings:
    """Configuration of one rule: `exceptions` is a list of `{resource: pattern, reason: text}`."""

    exceptions: Sequence[Mapping[str, str]] = field(default_factory=tuple)

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | None) -> RuleSettings:
        """Reads the rule's `--policy-pack-config`; raises `ValueError` for an exception without pattern or reason."""
        exceptions = list(known_members(lookup(config or {}, "exceptions")))
        for e in exceptions:
            if not (isinstance(lookup(e, "resource"), str) and _is_reason(lookup(e, "reason"))):
                raise ValueError(
                    "an exception needs `resource` (a pattern such as Deployment/headrace/*) and a written `reason`"
                )
        return cls(exceptions)


RULES: dict[str, Rule] = {}


def resource_rule(name: str, title: str, remediation: str, level: Level = "mandatory") -> Callable[[Check], Check]:
    """Registers a rule that examines one resource."""

    def register(check: Check) -> Check:
        RULES[name] = Rule(name, title, remediation, level, check=check)
        return check

    return register


def stack_rule(
    name: str, title: str, remediation: str, level: Level = "mandatory"
) -> Callable[[StackCheck], StackCheck]:
    """Registers a rule that examines all resources together."""

    def register(check: StackCheck) -> StackCheck:
        RULES[name] = Rule(name, title, remediation, level, stack=check)
        return check

    return register


def violations(
    rule: Rule, resources: Sequence[PlannedResource], settings: RuleSettings | None = None
) -> list[Violation]:
    """Returns all violations of one rule; excepted ones include the reason."""
    if rule.stack is not None:
        found = list(rule.stack(resources))
    else:
        assert rule.check is not None
        found = [(r, message) for r in resources for message in rule.check(r)]
    return [Violation(rule, r, m, exception_reason(rule.name, r, settings or RuleSettings())) for r, m in found]


def exception_reason(rule: str, resource: PlannedResource, settings: RuleSettings) -> str:
    """Returns the reason why the resource may violate the rule; empty if it may not."""
    annotated = lookup(resource.props, "metadata", "annotations", ANNOTATION + rule)
    if annotated is UNKNOWN:
        return "an annotation whose value is not known yet"
    if _is_reason(annotated):
        return str(annotated).strip()
    for e in settings.exceptions:
        if fnmatchcase(resource.label, e["resource"]) or fnmatchcase(resource.name, e["resource"]):
            return e["reason"].strip()
    return ""


def _is_reason(value: Any) -> bool:
    return isinstance(value, str) and len(value.strip()) >= REASON_CHARACTERS


@resource_rule(
    "exceptions-have-reasons",
    "Every exception names a rule and gives a reason.",
    f"Name an existing rule after `{ANNOTATION}` and give a reason of at least {REASON_CHARACTERS} characters.",
)
def _exceptions(resource: PlannedResource) -> Iterator[str]:
    for key, value in known_fields(lookup(resource.props, "metadata", "annotations")):
        if key.startswith(ANNOTATION):
            name = key.removeprefix(ANNOTATION)
            if name not in RULES or name == "exceptions-have-reasons":
                yield f"the annotation {key} does not name a rule that can have exceptions"
            elif not _is_reason(value):
                yield f"the annotation {key} gives no reason"
