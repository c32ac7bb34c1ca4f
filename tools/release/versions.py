"""The version of a release: a tag, pyproject.toml, the chart and the changelog say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tools.report import ToolError

_SECTION = re.compile(r"^## \[(?P<version>[^\]]+)\] - (?P<date>.+)$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def check(root: Path, tag: str) -> str:
    """Returns the version that `tag` releases.

    Raises:
        ToolError: something of the checkout says another version, or the changelog has no dated section of it.
    """
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    mistakes = [] if tag == f"v{version}" else [f"the tag {tag} is not v{version}, the version in pyproject.toml"]
    chart = (root / "charts" / "headrace" / "Chart.yaml").read_text(encoding="utf-8")
    for key in ("version", "appVersion"):
        if not re.search(rf"^{key}: {re.escape(version)}$", chart, re.MULTILINE):
            mistakes.append(f"{key} in charts/headrace/Chart.yaml is not {version}")
    try:
        date, _ = section(root, version)
    except ToolError as e:
        mistakes.append(str(e))
    else:
        if not _DATE.fullmatch(date):
            mistakes.append(f"CHANGELOG.md says of {version} {date!r}, which is no date such as 2026-01-31")
    if mistakes:
        raise ToolError("; ".join(mistakes))
    return str(version)


def section(root: Path, version: str) -> tuple[str, str]:
    """Returns the date that the changelog gives a version, and what it says of it.

    Raises:
        ToolError: it has no such section, or an empty one.
    """
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = list(_SECTION.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            if said := text[heading.end() : following.start() if following else None].strip():
                return heading["date"], said
            raise ToolError(f"CHANGELOG.md has nothing under {version}")
    raise ToolError(f"CHANGELOG.md has no section {version}")
