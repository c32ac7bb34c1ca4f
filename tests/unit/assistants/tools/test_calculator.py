"""Arithmetic, and nothing but arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.assistants.tools.calculator import MAX_CHARACTERS, calculate


@pytest.fixture(scope="session")
def ask(drive):
    return lambda expression: drive(lambda sandbox: calculate(sandbox, expression))


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("6 * 7", "42"),
        (" (1 + 2) * 3 ", "9"),
        ("2 ^ 10", "1024"),
        ("2 ** 10", "1024"),
        ("7 // 2 + 7 % 2", "4"),
        ("-3 + +4", "1"),
        ("1.5e3 / 2", "750.0"),
        ("6 × 7 ÷ 2 − 1", "20.0"),
        ("sqrt(16) + abs(-2)", "6.0"),
        ("max(1, 2, min(3, 4))", "3"),
        ("round(2 / 3, 2)", "0.67"),
        ("2 * pi", "6.283185307179586"),
        ("factorial(20)", "2432902008176640000"),
        ("(1\n+ 2)", "3"),
        ("10 ** 100", str(10**100)),
    ],
)
def test_expressions_have_the_value_of_arithmetic(ask, expression, value):
    assert ask(expression).value == value


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "x",
        "1 +",
        "1; 2",
        "'x' * 10",
        "[1] * 10",
        "(1).real",
        "__import__('os')",
        "print(1)",
        "sqrt.__class__",
        "lambda: 1",
        "[i for i in (1,)]",
        "1 if 1 else 2",
        "1 < 2",
        "True",
        "1j",
        "x := 1",
        "max(*(1, 2))",
        "round(1.5, ndigits=1)",
        "f'{1}'",
        "sqrt(16)(1)",
        "1, 2",
        "import os",
        "1\nimport os",
        "0x" + "f" * MAX_CHARACTERS,
        "(" * 500 + "1" + ")" * 499,
    ],
)
def test_non_arithmetic_input_is_rejected(ask, expression):
    outcome = ask(expression)
    assert (outcome.kind, outcome.value) == ("syntax", None)
    assert outcome.message


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("9 ** 9 ** 9 ** 9", "memory"),
        ("factorial(10 ** 9)", "memory"),
        ("1 / 0", "runtime"),
        ("10 ** 5000", "runtime"),
        ("sqrt(-1)", "runtime"),
        ("-" * 900 + "1", "syntax"),
    ],
)
def test_expensive_expressions_are_bounded(ask, expression, kind):
    assert ask(expression).kind == kind


numbers = st.integers(-(10**9), 10**9).map(lambda n: f"({n})")
expressions = st.recursive(numbers, lambda e: st.tuples(e, st.sampled_from("+-*"), e).map(lambda t: f"({' '.join(t)})"))


@given(expressions.filter(lambda e: len(e) < MAX_CHARACTERS))
@settings(max_examples=50)
def test_results_agree_with_python(ask, expression):
    assert ask(expression).value == str(eval(expression))
