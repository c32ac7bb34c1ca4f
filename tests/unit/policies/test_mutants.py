"""Every rule and each of its conditions is held by a case: a rule that is broken on purpose fails one."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from infra.policies import network, selection, workloads
from infra.policies import rule as registry
from infra.policies.catalogue import MODULES, RULES
from infra.policies.rule import Rule, violations
from tests.unit.policies.cases import CASES, Case


def mutants(module: ModuleType) -> Iterator[tuple[str, ast.Module]]:
    """The module with one finding never made, or with one condition that always or never holds."""
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    for index, original in enumerate(ast.walk(ast.parse(text))):
        match original:
            case ast.Expr(value=ast.Yield() | ast.YieldFrom()):
                changes: dict[str, Any] = {"is not found": ("value", ast.Constant(None))}
            case ast.If() | ast.IfExp():
                changes = {f"if {c}": ("test", ast.Constant(c)) for c in (True, False)}
            case _:
                continue
        for what, (field, value) in changes.items():
            tree = ast.parse(text)
            setattr(next(itertools.islice(ast.walk(tree), index, None)), field, value)
            ast.fix_missing_locations(tree)
            yield f"{module.__name__.rpartition('.')[2]}:{original.lineno} {what}", tree


def rules_of(tree: ast.Module, module: ModuleType) -> dict[str, Rule]:
    """The rules that the mutant registers."""
    kept = dict(RULES)
    names: dict[str, Any] = {"__name__": module.__name__}
    # A generator stays one when its only finding is taken out.
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and "Iterator" in ast.dump(function.returns or ast.Constant(None)):
            function.body.append(ast.parse("if None: yield").body[0])
    ast.fix_missing_locations(tree)
    try:
        exec(compile(tree, str(module.__file__), "exec"), names)
        return {name: r for name, r in RULES.items() if r is not kept.get(name)}
    finally:
        RULES.clear()
        RULES.update(kept)


def held(case: Case, rule: Rule) -> bool:
    found = " ".join(map(str, violations(rule, case.resources)))
    return case.finding in found if case.finding else not found


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__)
def test_a_broken_rule_fails_a_case(module: ModuleType) -> None:
    survivors = []
    for what, tree in mutants(module):
        rules = rules_of(tree, module)
        try:
            if all(held(c, rules[c.rule]) for c in CASES if c.rule in rules):
                survivors.append(what)
        except Exception:
            continue  # a crash fails cases too
    assert survivors == []


def test_a_broken_selection_of_pods_fails_a_case(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [c for c in CASES if c.rule in ("disruption-budget", "default-deny")]
    survivors = []
    for what, tree in mutants(selection):
        names: dict[str, Any] = {"__name__": selection.__name__}
        exec(compile(tree, str(selection.__file__), "exec"), names)
        for module in (network, workloads):
            monkeypatch.setattr(module, "selects", names["selects"])
        try:
            if all(held(c, RULES[c.rule]) for c in cases):
                survivors.append(what)
        except Exception:
            continue  # a crash fails cases too
    assert survivors == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_finds_nothing_or_everything_fails_a_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [c for c in CASES if c.rule == name]
    blind = Rule(name, "", "", "mandatory", check=lambda _: iter(()))
    strict = Rule(name, "", "", "mandatory", check=lambda r: iter([c.finding for c in cases] + [r.name]))
    for broken in (blind, strict):
        assert not all(held(c, broken) for c in cases)
    assert registry.RULES is RULES
