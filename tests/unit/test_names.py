"""Names of functions, classes and modules: plain terms, each class name once in a package."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.unit.sources import ROOT, files, source

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


@pytest.mark.parametrize("package", EXCEPTIONS)
def test_names_are_descriptive(package: str) -> None:
    forbidden = FORBIDDEN - EXCEPTIONS[package]
    names = {
        (str(path.relative_to(ROOT)), name)
        for path in files(package)
        for name in (path.stem, *source(path).functions, *source(path).classes)
    }
    found = {each for each in names if each[1].strip("_").lower() in forbidden}
    if package == "infra":
        # A private `_read` does not say what it reads.
        found |= {each for each in names if each[1] == "_read"}
    assert found == set()


@pytest.mark.parametrize("package", SHARED)
def test_no_two_classes_of_a_package_share_a_name(package: str) -> None:
    places = defaultdict(set)
    for path in files(package):
        for name in source(path).classes:
            places[name].add(path)
    assert {name for name, paths in places.items() if len(paths) > 1} == set(SHARED[package])


@pytest.mark.parametrize("package", ["bench", "monitoring", "tools"])
def test_every_module_has_a_docstring(package: str) -> None:
    assert [str(path.relative_to(ROOT)) for path in files(package) if not source(path).documented] == []
