"""How functions and classes are named: a name says what it is without a look at its body."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIDDLES = {
    "all_of_them",
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
    "made",
    "of",
    "one",
    "other",
    "others",
    "ours",
    "read_it",
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
}
"""Names of functions that tell nothing: pronouns, prepositions, participles without a noun."""
ROOMS = ("infra", "serving")
SHARED = {
    "infra": {"RayHead": "the resource of the program, and what provides it"},
    "serving": {},
}
"""Classes of one name in two modules of a package, and why."""


def definitions(package, kinds):
    for path in sorted((ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, kinds):
                yield str(path.relative_to(ROOT)), node


@pytest.mark.parametrize("package", ROOMS)
def test_no_function_has_a_name_that_tells_nothing(package):
    functions = definitions(package, (ast.FunctionDef, ast.AsyncFunctionDef))
    assert [(path, node.lineno, node.name) for path, node in functions if node.name.strip("_") in RIDDLES] == []


@pytest.mark.parametrize("package", ROOMS)
def test_no_two_classes_have_one_name(package):
    places = defaultdict(list)
    for path, node in definitions(package, ast.ClassDef):
        places[node.name].append(f"{path}:{node.lineno}")
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert twice == {name: twice.get(name) for name in SHARED[package]}
