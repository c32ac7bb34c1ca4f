"""How functions and classes are named: a name tells what it is without a look at its body."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "infra": {
        "asked",
        "beside",
        "called",
        "each",
        "every",
        "found",
        "given",
        "had",
        "has",
        "it",
        "its",
        "kept",
        "lost",
        "made",
        "of",
        "one",
        "other",
        "others",
        "ours",
        "said",
        "shown",
        "some",
        "taken",
        "that",
        "theirs",
        "them",
        "there",
        "together",
        "told",
        "wanted",
        "whole",
        "words",
    },
    "serving": {"of", "shown", "theirs"},
}
"""Names of functions that tell nothing, by package: pronouns, prepositions, and participles without a noun."""
SHARED = {"RayHead": "the Pulumi resource in resources.py, and its provider in providers/ray_head.py"}
"""Classes of infra that share a name, and why."""


def definitions(package, *kinds):
    """Yields path and node of each function or class, wherever in a module it is defined."""
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield str(path.relative_to(ROOT)), node


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_function_has_a_name_that_tells_nothing(package):
    functions = definitions(package, ast.FunctionDef, ast.AsyncFunctionDef)
    # `read` is an operation of Pulumi's providers; a private `_read` does not say what it reads.
    forbidden = FORBIDDEN[package] | ({"_read"} if package == "infra" else set())
    found = [(path, node.name) for path, node in functions if {node.name, node.name.strip("_")} & forbidden]
    assert found == []


def test_no_two_classes_of_infra_have_one_name():
    places = defaultdict(list)
    for path, node in definitions("infra", ast.ClassDef):
        places[node.name].append(path)
    assert {name: paths for name, paths in places.items() if len(paths) > 1}.keys() == SHARED.keys()
