"""What tests build, fetch or install is what `python -m tests.prepare` obtains before they run."""

from __future__ import annotations

import re

from tests import prepare
from tests.prepare import BUILT, FETCHED, HERE

SOAKED = {"training"}
"""Environments of several GB, which one campaign alone makes."""
NAMES = {name for fetches in FETCHED.values() for name, _ in fetches}


def sources() -> str:
    """But for tests of how things are obtained, which obtain what they made up."""
    files = (file for file in HERE.rglob("*.py") if not {"unit", "tools"} & set(file.relative_to(HERE).parts))
    return "".join(file.read_text() for file in files)


def test_every_environment_of_a_test_is_prepared() -> None:
    made = set(re.findall(r'environment\.locked_environment\("([\w-]+)"\)', sources()))
    assert {"test-s3", "comply"} <= made
    assert {f"environment of {name}" for name in made - SOAKED} <= NAMES


def test_every_package_of_npm_is_prepared() -> None:
    locks = {str(file.parent.relative_to(HERE)) for file in HERE.rglob("package-lock.json")}
    assert {"npm/oidc", "npm/chromium"} <= locks
    assert {f"{name} by npm" for name in locks - {"npm/chromium"}} <= NAMES
    assert "chromium" in NAMES  # which is unpacked too


def test_every_program_of_a_test_is_prepared() -> None:
    called = "".join(re.findall(r"(?:ensure|bin_dir)\(([^)]*)\)", sources()))
    named = set(re.findall(r'"([\w-]+)"|\'([\w-]+)\'', called))
    wanted = {name for pair in named for name in pair if name}
    built = {binary for kits in BUILT.values() for kit in kits for binary in kit.binaries}
    assert {"pulumi", "helm", "promtool"} <= wanted
    assert wanted <= built


def test_failures_are_reported_and_the_rest_prepared(monkeypatch, capsys) -> None:
    brought = []

    def fails() -> None:
        raise OSError("no network")

    monkeypatch.setitem(BUILT, "some", ())
    monkeypatch.setitem(FETCHED, "some", [("one", fails), ("two", lambda: brought.append("two"))])
    assert prepare.prepare(["some", "some"]) == ["one: no network"]
    assert brought == ["two"]
