"""Runbooks as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER = Path(__file__).resolve().parents[1] / "runbooks"
_RUNBOOK = re.compile(r"(\w+)\.md")
_REPOSITORY = "../../"


def html(alert: str) -> str:
    """Returns an alert's runbook without its first heading, with links to other runbooks but not to docs pages."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse((FOLDER / f"{alert}.md").read_text(encoding="utf-8"))
    if tokens[0].type == "heading_open":
        tokens = tokens[3:]
    for token in tokens:
        if token.children:
            token.children = list(_rewrite_links(token.children))
    rendered: str = reader.renderer.render(tokens, reader.options, {})
    return rendered


def _rewrite_links(tokens: Sequence[Token]) -> Iterator[Token]:
    """Rewrites links to runbooks for the page, and replaces other links within the repository by their paths."""
    outside = ""
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrs["href"])
            if runbook := _RUNBOOK.fullmatch(target):
                token.attrs["href"] = f"/status/alerts/{runbook[1]}"
            outside = target.removeprefix(_REPOSITORY) if target.startswith(_REPOSITORY) else ""
            if outside:
                continue
        elif token.type == "link_close" and outside:
            yield Token("text", "", 0, content=f" ({outside})")
            outside = ""
            continue
        yield token
