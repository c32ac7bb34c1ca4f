"""A runbook as HTML."""

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
    """The runbook of an alert without its first heading. Other runbooks are links, pages of the docs are named."""
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = reader.parse((FOLDER / f"{alert}.md").read_text(encoding="utf-8"))
    if tokens[0].type == "heading_open":
        tokens = tokens[3:]
    for token in tokens:
        if token.children:
            token.children = list(_linked(token.children))
    rendered: str = reader.renderer.render(tokens, reader.options, {})
    return rendered


def _linked(tokens: Sequence[Token]) -> Iterator[Token]:
    """Links of the source's folders, as the page can follow them."""
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
