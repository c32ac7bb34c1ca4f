"""The version of a release, on which the tag, pyproject.toml, the chart and the changelog must agree."""

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
        ToolError: a file has another version, or the changelog has no dated section for it.
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
            mistakes.append(
                f"the heading of {version} in CHANGELOG.md ends in {date!r}, which is not a date such as 2026-01-31"
            )
    if mistakes:
        raise ToolError("; ".join(mistakes))
    return str(version)


def section(root: Path, version: str) -> tuple[str, str]:
    """Returns the date and the text of a version's section in the changelog.

    Raises:
        ToolError: the section is missing or empty.
    """
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = list(_SECTION.finditer(text))
    for heading, following in zip(headings, [*headings[1:], None], strict=True):
        if heading["version"] == version:
            if body := text[heading.end() : following.start() if following else None].strip():
                return heading["date"], body
            raise ToolError(f"CHANGELOG.md has nothing under {version}")
    raise ToolError(f"CHANGELOG.md has no section {version}")
