"""Checks of PromQL expressions: whether their series, labels and functions can return anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import promql_parser as promql

from monitoring.known_series import KNOWN
from monitoring.series import Series

COUNTING = frozenset({"rate", "irate", "increase", "resets"})
"""Functions for counters only: they take every decrease of a gauge for a counter reset."""
COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})
SETS = frozenset({"and", "or", "unless"})
CHOOSING = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
"""Aggregations that keep the labels of the series that they select."""
TARGET = ("job", "instance", "namespace", "pod", "container", "endpoint", "headrace_io_pool")
"""Labels that scraping adds to each sample."""
EMPTY: frozenset[str] = frozenset()


def mistakes(expression: str, known: Mapping[str, Series] = KNOWN) -> list[str]:
    """Returns the mistakes in an expression, one line each.

    Names are looked up in `known`, by default in `KNOWN`. Grafana's variables must have been replaced.
    """
    try:
        tree = promql.parse(expression)
    except ValueError as e:
        return [f"it does not parse: {e}"]
    found = _LabelWalk(known, [])
    found.labels(tree)
    return found.mistakes


def labels(expression: str) -> frozenset[str]:
    """Returns the labels that the series of an expression may have."""
    return _LabelWalk(KNOWN, []).labels(promql.parse(expression))


def operands(expression: str) -> list[str]:
    """Returns the operands of an alert's comparisons, each of which has data even while the alert is silent.

    `absent(x)` compares x. Raises `ValueError` when the expression does not parse.
    """
    return list(dict.fromkeys(_operands(promql.parse(expression))))


def _operands(tree: promql.Expr) -> Iterator[str]:
    match tree:
        case promql.ParenExpr():
            yield from _operands(tree.expr)
        case promql.BinaryExpr() if str(tree.op) in COMPARISONS | SETS:
            yield from _operands(tree.lhs)
            yield from _operands(tree.rhs)
        case promql.Call() if tree.func.name in ("absent", "absent_over_time"):
            yield from _operands(tree.args[0])
        case promql.Call() if tree.func.name == "vector":
            return
        case promql.NumberLiteral():
            return
        case promql.MatrixSelector():
            yield tree.vector_selector.prettify()
        case _:
            yield promql.transform(tree, pre_visit=_without_filters).prettify()


def _without_filters(tree: promql.Expr) -> promql.Expr | None:
    """Removes comparisons within an expression, which filter and may rightly return nothing."""
    if isinstance(tree, promql.BinaryExpr) and str(tree.op) in COMPARISONS and not _is_bool(tree):
        return promql.transform(tree.lhs, pre_visit=_without_filters)
    return None


def _is_bool(tree: promql.BinaryExpr) -> bool:
    return bool(tree.modifier and tree.modifier.return_bool)


@dataclass(slots=True)
class _LabelWalk:
    """Computes the labels of each part of an expression, and collects mistakes on the way."""

    known: Mapping[str, Series]
    mistakes: list[str]

    def labels(self, tree: promql.Expr) -> frozenset[str]:
        match tree:
            case promql.VectorSelector():
                return self._selector_labels(tree)
            case promql.MatrixSelector():
                return self._selector_labels(tree.vector_selector)
            case promql.AggregateExpr():
                return self._aggregation_labels(tree)
            case promql.Call():
                return self._call_labels(tree)
            case promql.BinaryExpr():
                return self._binary_labels(tree)
            case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
                return self.labels(tree.expr)
        return EMPTY

    def _report(self, mistake: str) -> None:
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _require(self, wanted: list[str] | tuple[str, ...], labels: frozenset[str], at: str) -> None:
        for label in wanted:
            if label not in labels:
                self._report(f"{at}: there is no label {label}, only {', '.join(sorted(labels)) or 'none'}")

    def _selector_labels(self, tree: promql.VectorSelector) -> frozenset[str]:
        name = _name(tree)
        series = self.known.get(name)
        if not series:
            self._report(f"there is no series {name or tree.prettify()}")
            return frozenset(TARGET)
        labels = frozenset(series.labels)
        if series.source != "rule":
            labels |= frozenset(TARGET)
        matchers = [m for group in (tree.matchers.matchers, *tree.matchers.or_matchers) for m in group]
        # Recorded series have a namespace when the rules are those of one stack: see scope.py.
        self._require([m.name for m in matchers if m.name != "__name__"], labels | {"namespace"}, name)
        return labels

    def _aggregation_labels(self, tree: promql.AggregateExpr) -> frozenset[str]:
        inner = self.labels(tree.expr)
        operator = str(tree.op)
        added = frozenset({tree.param.val}) if operator == "count_values" and tree.param else EMPTY
        if tree.modifier is None:
            return inner if operator in CHOOSING else added
        named = tree.modifier.labels
        without = tree.modifier.type == promql.AggModifierType.Without
        self._require(named, inner, f"{operator} {'without' if without else 'by'}")
        if operator in CHOOSING:
            return inner
        return (inner - frozenset(named) if without else frozenset(named)) | added

    def _call_labels(self, tree: promql.Call) -> frozenset[str]:
        function = tree.func.name
        inner = frozenset[str]().union(*(self.labels(argument) for argument in tree.args))
        strings = [a.val for a in tree.args if isinstance(a, promql.StringLiteral)]
        if function in COUNTING:
            self._count(function, tree.args[0])
        if function == "label_replace":
            self._require([label for label in strings[2:3] if label], inner, function)  # "" stands for no label
            return inner | {strings[0]}
        if function == "label_join":
            self._require(strings[2:], inner, function)
            return inner | {strings[0]}
        if function == "histogram_quantile":
            self._require(["le"], inner, function)
            for name in _names(tree.args[1]):
                if not name.endswith("_bucket"):
                    self._report(f"{function}: {name} is not a histogram's bucket")
            return inner - {"le"}
        return EMPTY if function == "scalar" else inner

    def _count(self, function: str, argument: promql.Expr) -> None:
        if not isinstance(argument, promql.MatrixSelector):
            self._report(f"{function}: its argument must be a counter, not a subquery")
            return
        series = self.known.get(_name(argument.vector_selector))
        if series and series.kind != "counter":
            self._report(f"{function}: {series.name} is a {series.kind}, not a counter")

    def _binary_labels(self, tree: promql.BinaryExpr) -> frozenset[str]:
        left, right = self.labels(tree.lhs), self.labels(tree.rhs)
        if _is_scalar(tree.lhs) or _is_scalar(tree.rhs):
            return left | right
        operator, modifier = str(tree.op), tree.modifier
        if operator == "or":
            return left | right
        if modifier is None or modifier.matching is None:
            if left != right:
                odd = ", ".join(sorted(left ^ right))
                self._report(f"{operator}: the sides never match, since only one of them has {odd}")
            return left
        matching = modifier.matching
        on = matching.type == promql.LabelModifierType.Include
        at = f"{operator} {'on' if on else 'ignoring'}"
        if on:
            self._require(matching.labels, left, f"{at}, left side")
            self._require(matching.labels, right, f"{at}, right side")
        else:
            self._require(matching.labels, left | right, at)
        if operator in SETS:
            return left
        card, brought = modifier.card, modifier.group_labels or []
        if card in (promql.VectorMatchCardinality.ManyToOne, promql.VectorMatchCardinality.OneToMany):
            many, one = (left, right) if card == promql.VectorMatchCardinality.ManyToOne else (right, left)
            self._require(brought, one, f"{operator} group")
            return many | frozenset(brought)
        return frozenset(matching.labels) if on else left - frozenset(matching.labels)


def _is_scalar(tree: promql.Expr) -> bool:
    match tree:
        case promql.NumberLiteral():
            return True
        case promql.Call():
            return tree.func.name in ("time", "scalar", "pi")
        case promql.ParenExpr() | promql.UnaryExpr():
            return _is_scalar(tree.expr)
        case promql.BinaryExpr():
            return _is_scalar(tree.lhs) and _is_scalar(tree.rhs)
    return False


def _name(tree: promql.VectorSelector) -> str:
    return tree.name or next((m.value for m in tree.matchers.matchers if m.name == "__name__"), "")


def _names(tree: promql.Expr) -> list[str]:
    found: list[str] = []

    def visit(part: promql.Expr) -> None:
        if isinstance(part, promql.VectorSelector):
            found.append(_name(part))

    promql.walk(tree, pre_visit=visit)
    return found
