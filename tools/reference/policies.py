"""The reference page of the policy pack, generated from its rules."""

from __future__ import annotations

from infra.policies import rule
from infra.policies.catalogue import MODULES, RULES
from infra.policies.rule import ANNOTATION, REASON_CHARACTERS, Rule

LEVELS = {"mandatory": "stops the preview or update", "advisory": "is reported and stops nothing"}


def page(note: str) -> str:
    """Returns the page with every rule of the policy pack; `note` marks it as generated."""
    mandatory = sum(r.level == "mandatory" for r in RULES.values())
    parts = [
        "# Policies reference",
        note,
        f"The policy pack of Headrace has {len(RULES)} rules, of which {mandatory} are mandatory.\n"
        "A violation of a mandatory rule stops a preview or update; one of an advisory rule is only reported.\n"
        f"An annotation `{ANNOTATION}<rule>` on an object excepts it from that rule.\n"
        f"The annotation's value is the reason for the exception, of at least {REASON_CHARACTERS} characters.\n"
        "A value that is unknown during a preview violates no rule; the update checks it.\n"
        "[Hold a stack to the policies](../how-to/hold-a-stack-to-policies.md) describes how to run the policy pack.",
    ]
    for module in (*MODULES, rule):
        own = [_section(r) for r in RULES.values() if r.module == module.__name__]
        parts += [f"## {_heading(module.__doc__ or '') if module is not rule else 'Rules about exceptions'}", *own]
    return "\n\n".join(parts) + "\n"


def _heading(text: str) -> str:
    return text.partition("\n")[0].partition(":")[0].rstrip(".")


def _section(one: Rule) -> str:
    scope = "all resources of the stack together" if one.stack else "each resource by itself"
    return (
        f"### {one.name}\n\n"
        f"The policy `{one.name}` requires: {one.title}\n"
        f"The policy `{one.name}` is {one.level}: a violation {LEVELS[one.level]}.\n"
        f"The policy `{one.name}` checks {scope}.\n"
        f"To comply with the policy `{one.name}`: {one.remediation}"
    )
