"""Rules restricted to one stack, for a Prometheus that scrapes several: each stack has its own namespace.

As with Prometheus Operator's `enforcedNamespaceLabel`, each selector gets a matcher, and each rule adds a label.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import promql_parser as promql

from monitoring.known_series import KNOWN
from monitoring.rule import Alert, Group, Recording
from monitoring.series import Series

LABEL = "namespace"
OWN = frozenset({"headrace", "ray", "haproxy", "prometheus", "rule"})
"""Sources whose series have the namespace of the stack's pods."""
ENGINES = frozenset({"vllm", "llama.cpp"})
"""Sources whose servers run in the stack's namespace, in another, or outside the cluster."""
SHARED = frozenset({"cert-manager"})
"""Sources shared by all stacks: as usually scraped, `namespace` is cert-manager's own, not the certificate's."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A stack's namespace, and a regular expression for the namespaces of its engines' series."""

    namespace: str
    engines: str

    @classmethod
    def for_namespace(cls, namespace: str) -> Scope:
        """Returns a scope whose engines run in the same namespace, or outside the cluster without any."""
        return cls(namespace, f"{namespace}|")

    def __call__(self, series: Series) -> str:
        """Returns the matcher that restricts a series to the stack; empty for nodes and GPUs, which stacks share."""
        if not has_stack_namespace(series):
            return ""
        if series.source in ENGINES:
            return f"{LABEL}=~{json.dumps(self.engines)}"
        return f"{LABEL}={json.dumps(self.namespace)}"


def has_stack_namespace(series: Series) -> bool:
    """Returns whether the namespace of a series is that of a stack or of its engines."""
    return series.source in OWN | ENGINES or (LABEL in series.labels and series.source not in SHARED)


def restrict_groups(groups: Sequence[Group], scope: Scope, known: Mapping[str, Series] = KNOWN) -> list[Group]:
    """Returns rules that read only the stack's series, and whose recorded series and alerts have its namespace.

    Rules that read no series of a stack are unchanged: all stacks share them, and their alerts are sent once.
    """
    return [replace(group, rules=[_rule(rule, scope, known) for rule in group.rules]) for group in groups]


def _rule(rule: Recording | Alert, scope: Scope, known: Mapping[str, Series]) -> Recording | Alert:
    expression, label = restrict(rule.expression, scope, known), {LABEL: scope.namespace}
    if expression == restrict(rule.expression, lambda _: "", known):
        return rule
    if isinstance(rule, Recording):
        return replace(rule, expression=expression, fixed={**rule.fixed, **label})
    return replace(rule, expression=expression, labels={**rule.labels, **label})


def restrict(expression: str, matcher: Callable[[Series], str], known: Mapping[str, Series] = KNOWN) -> str:
    """Returns an expression with `matcher` added to each selector, if that returns one for its series.

    Raises `KeyError` for an unknown series.
    """

    def visit(tree: promql.Expr) -> promql.Expr | None:
        if not isinstance(tree, promql.VectorSelector):
            return None
        name = tree.name or ""
        if not (added := matcher(known[name])):
            return None
        rest = tree.prettify().removeprefix(name)
        within = f"{{{added}, {rest[1:]}" if rest.startswith("{") else f"{{{added}}}{rest}"
        return promql.parse(f"{name}{within}")

    return _line(promql.transform(promql.parse(expression), pre_visit=visit))


def _line(tree: promql.Expr) -> str:
    """Returns an expression as one line, without the parser's line breaks."""
    made = ""
    for line in map(str.strip, tree.prettify().splitlines()):
        made += line if not made or made.endswith("(") or line.startswith(")") else f" {line}"
    return made
