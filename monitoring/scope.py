"""Rules of one stack alone, where one Prometheus scrapes several: a stack is the namespace that it runs in.

As Prometheus Operator's `enforcedNamespaceLabel` does it, each selector gets a matcher, and what a rule makes a label.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import promql_parser as promql

from monitoring.known import KNOWN
from monitoring.rule import Alert, Group, Recording
from monitoring.series import Series

LABEL = "namespace"
OWN = frozenset({"headrace", "ray", "haproxy", "prometheus", "rule"})
"""Whose series are of the namespace in which the stack's pods run."""
ENGINES = frozenset({"vllm", "llama.cpp"})
"""Whose series are of servers that stand in the stack's namespace, in another, or outside of the cluster."""
SHARED = frozenset({"cert-manager"})
"""Whose series are of all stacks: as it is usually scraped, `namespace` is cert-manager's own, not a certificate's."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A stack's namespace, and which namespaces its engines' series may have: a regular expression."""

    namespace: str
    engines: str

    @classmethod
    def of(cls, namespace: str) -> Scope:
        """Engines are in the namespace too, or in none, as those that are outside of the cluster."""
        return cls(namespace, f"{namespace}|")

    def __call__(self, series: Series) -> str:
        """The matcher that holds a series to the stack; empty for nodes and GPUs, which stacks share."""
        if not placed(series):
            return ""
        if series.source in ENGINES:
            return f"{LABEL}=~{json.dumps(self.engines)}"
        return f"{LABEL}={json.dumps(self.namespace)}"


def placed(series: Series) -> bool:
    """Whether the namespace of a series is that of a stack or of its engines."""
    return series.source in OWN | ENGINES or (LABEL in series.labels and series.source not in SHARED)


def scoped(groups: Sequence[Group], scope: Scope) -> list[Group]:
    """Returns rules that read the stack's series alone, and whose own series and alerts have its namespace.

    What reads no series of a stack is left as it is: all stacks have the same alert, which is sent once.
    """
    return [replace(group, rules=[_rule(rule, scope) for rule in group.rules]) for group in groups]


def _rule(rule: Recording | Alert, scope: Scope) -> Recording | Alert:
    expression, label = held(rule.expression, scope), {LABEL: scope.namespace}
    if expression == held(rule.expression, lambda _: ""):
        return rule
    if isinstance(rule, Recording):
        return replace(rule, expression=expression, fixed={**rule.fixed, **label})
    return replace(rule, expression=expression, labels={**rule.labels, **label})


def held(expression: str, matcher: Callable[[Series], str]) -> str:
    """Returns an expression whose selectors have the matcher of their series too, if that is not empty.

    Raises `KeyError` for a series that is not known.
    """

    def visit(tree: promql.Expr) -> promql.Expr | None:
        if not isinstance(tree, promql.VectorSelector):
            return None
        name = tree.name or ""
        if not (added := matcher(KNOWN[name])):
            return None
        rest = tree.prettify().removeprefix(name)
        within = f"{{{added}, {rest[1:]}" if rest.startswith("{") else f"{{{added}}}{rest}"
        return promql.parse(f"{name}{within}")

    return _line(promql.transform(promql.parse(expression), pre_visit=visit))


def _line(tree: promql.Expr) -> str:
    """An expression in one line, which is the same wherever the parser breaks it."""
    made = ""
    for line in map(str.strip, tree.prettify().splitlines()):
        made += line if not made or made.endswith("(") or line.startswith(")") else f" {line}"
    return made
