"""Arithmetic for models: one expression, strictly parsed and computed in the sandbox.

The sandbox limits the cost of huge powers; this module accepts arithmetic only.
"""

from __future__ import annotations

import ast
from typing import Final

from serving.assistants.sandbox.pool import ProgramOutcome, Sandbox

MAX_CHARACTERS = 1000

_FUNCTIONS: Final = frozenset(
    {"ceil", "cos", "degrees", "exp", "factorial", "floor", "gcd", "hypot"}
    | {"log", "log10", "log2", "radians", "sin", "sqrt", "tan"}
)
_CONSTANTS: Final = frozenset({"e", "pi"})
_BUILTINS: Final = frozenset({"abs", "max", "min", "round"})
_NODES: Final = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.UAdd, ast.USub, ast.Load)
_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "^": "**", "’": "", "\u00a0": " "})


async def calculate(sandbox: Sandbox, expression: str) -> ProgramOutcome:
    """Returns the value of `expression`, or its error. Raises `SandboxFull`."""
    text = expression[: MAX_CHARACTERS + 1].translate(_SIGNS).strip()
    if len(expression) > MAX_CHARACTERS:
        return ProgramOutcome("syntax", message=f"the expression has more than {MAX_CHARACTERS} characters")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ProgramOutcome("syntax", message="this is not an arithmetic expression")
    for node in ast.walk(tree):
        if not _is_arithmetic(node):
            return ProgramOutcome(
                "syntax", message="an expression has numbers, + - * / // % **, brackets and functions only"
            )
    names = ", ".join(sorted(_FUNCTIONS | _CONSTANTS))
    return await sandbox.run(f"from math import {names}\n{text}")


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=value):
            return type(value) in (int, float)
        case ast.Name(id=name):
            return name in _FUNCTIONS | _CONSTANTS | _BUILTINS
        case ast.Call(func=ast.Name(), keywords=[]):
            return True
    return isinstance(node, _NODES)
