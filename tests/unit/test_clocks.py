"""Tests replace no function that others of their process use: what else sleeps or reads a clock would do it too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHARED = {"asyncio", "time", "threading", "random", "datetime"}


def replaced(text: str) -> Iterator[str]:
    """The functions of shared modules that this source replaces by `setattr` or `patch`."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in {"setattr", "patch", "object"}:
            continue
        target = node.args[0]
        if isinstance(target, ast.Constant) and isinstance(target.value, str):
            parts = target.value.split(".")[:-1]
        else:
            parts = ast.unparse(target).split(".")
        if parts and parts[-1] in SHARED:
            yield f"line {node.lineno}: {ast.unparse(node)[:80]}"


@pytest.mark.parametrize(
    ("text", "finds"),
    [
        ("monkeypatch.setattr(asyncio, 'sleep', f)", True),
        ("monkeypatch.setattr(load.asyncio, 'sleep', f)", True),
        ("monkeypatch.setattr('serving.core.cache.time.monotonic', f)", True),
        ("mock.patch('time.time', f)", True),
        ("monkeypatch.setattr(load, 'asyncio', f)", False),
        ("replace(monkeypatch, load, asyncio, sleep=f)", False),
    ],
)
def test_replaced_functions_are_found(text: str, finds: bool) -> None:
    assert bool([*replaced(text)]) == finds


def test_no_test_replaces_a_function_of_its_whole_process() -> None:
    found = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if "node_modules" not in path.parts and (lines := [*replaced(path.read_text())])
    }
    assert found == {}, "use tests.replace, or hand a clock to what is tested"
