"""The order of allowed values is that of the declaration, whatever was imported first."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_equal_literals_have_the_same_order() -> None:
    """`Literal["a", "b"] | None` and `Literal["b", "a"] | None` are one object: that of the first import."""
    orders = defaultdict(set)
    for package in ("serving", "infra"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
                    values = ast.unparse(node.slice).strip("()").split(", ")
                    orders[frozenset(values)].add(tuple(values))
    assert len(orders) > 100
    assert [found for found in orders.values() if len(found) > 1] == []
