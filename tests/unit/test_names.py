"""Names of functions, classes and modules: plain terms, each class name once in a package."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = frozenset(
    {
        *(
            "asked",
            "beside",
            "by",
            "called",
            "each",
            "every",
            "found",
            "given",
            "had",
            "has",
            "heard",
            "held",
            "it",
            "its",
        ),
        *(
            "kept",
            "lost",
            "made",
            "of",
            "one",
            "other",
            "others",
            "ours",
            "over",
            "read",
            "said",
            "seen",
            "shown",
            "some",
        ),
        *("taken", "that", "theirs", "them", "there", "together", "told", "wanted", "whole", "words"),
    }
)
"""Participles, prepositions and pronouns, which do not tell what a function returns or a module contains."""
EXCEPTIONS = {
    "bench": {"each", "every", "one", "others", "whole"},
    "infra": {"by", "found", "heard", "held", "made", "over", "read", "seen"},
    "monitoring": {"each", "every", "one"},
    "tools": {"each", "has", "other", "every", "one", "words"},
    "serving": {"one", "read", "words"},
}
"""By package, which of these it may use: `read` is a verb too, and an operation of Pulumi's providers; `one` is
SQLAlchemy's term for exactly one row; two modules of `serving` are about words."""
SHARED = {
    "infra": {"RayHead": "the Pulumi resource in resources.py, and its provider in providers/ray_head.py"},
    "serving": {
        "Query": "what the model passes to the tool `search_knowledge`, and what it passes to a SQL tool",
        "Tool": "what an assistant calls, and what a request of OpenAI's API declares",
    },
    "bench": {},
    "monitoring": {},
    "tools": {},
}
"""Classes of a package that share a name, and why."""


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def definitions(package: str) -> list[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [
        (str(path.relative_to(ROOT)), node)
        for path in files(package)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, kinds)
    ]


@pytest.mark.parametrize("package", EXCEPTIONS)
def test_names_are_descriptive(package: str) -> None:
    forbidden = FORBIDDEN - EXCEPTIONS[package]
    names = {(path, node.name) for path, node in definitions(package)}
    names |= {(str(path.relative_to(ROOT)), path.stem) for path in files(package)}
    found = {each for each in names if each[1].strip("_").lower() in forbidden}
    if package == "infra":
        # A private `_read` does not say what it reads.
        found |= {each for each in names if each[1] == "_read"}
    assert found == set()


@pytest.mark.parametrize("package", SHARED)
def test_no_two_classes_of_a_package_share_a_name(package: str) -> None:
    places = defaultdict(set)
    for path, node in definitions(package):
        if isinstance(node, ast.ClassDef):
            places[node.name].add(path)
    assert {name for name, paths in places.items() if len(paths) > 1} == set(SHARED[package])


@pytest.mark.parametrize("package", ["bench", "monitoring", "tools"])
def test_every_module_has_a_docstring(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in files(package) if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
