"""Markdown by markdown-it-py: headings, paragraphs, list items, tables (a row is a block) and code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.parsers.table import add_table
from serving.retrieval.types import Document

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE)


def parse_markdown(text: str, name: str, bounds: ChunkBounds) -> Document:
    """Front matter is skipped, except its `title`."""
    text = text.replace("\r\n", "\n")
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :]
        if found := _TITLE.search(front.group(1)):
            title = found.group(1).strip().strip("\"'")
    builder = DocumentBuilder("markdown", bounds)
    tokens = MarkdownIt("commonmark", {"maxNesting": bounds.depth}).enable("table").parse(text)
    if any(token.level >= bounds.depth - 1 for token in tokens):  # the parser drops deeper levels
        raise UnreadableDocument("too_complex", f"the Markdown is nested more than {bounds.depth} levels deep")
    _walk(tokens, builder)
    return builder.build(name, title)


def _walk(tokens: Sequence[Token], builder: DocumentBuilder) -> None:
    level = 0
    rows: list[list[str]] | None = None
    for token in tokens:
        if token.type == "heading_open":
            level = int(token.tag[1:])
        elif token.type == "heading_close":
            level = 0
        elif token.type == "table_open":
            rows = []
        elif token.type == "tr_open" and rows is not None:
            rows.append([])
        elif token.type == "table_close" and rows:
            header, *below = rows
            add_table(builder, below, header=header)
            rows = None
        elif token.type == "inline":
            text = _inline(token)
            if level:
                builder.heading(text, level)
            elif rows is not None:
                rows[-1].append(text)
            else:
                builder.add(text)
        elif token.type in ("fence", "code_block"):
            builder.add(token.content)
        elif token.type == "html_block":
            builder.add(_without_tags(token.content))


def _without_tags(text: str) -> str:
    """Returns HTML with each comment and tag replaced by a space; unterminated ones are kept."""
    parts: list[str] = []
    at = 0
    comments = True  # stop at the first unterminated one: each would be searched to the end of the text
    while (opening := text.find("<", at)) >= 0:
        end = -1
        if comments and text.startswith("<!--", opening):
            end = text.find("-->", opening + 4)
            comments = end >= 0
        end = end + 3 if end >= 0 else text.find(">", opening) + 1
        if not end:
            break
        parts += [text[at:opening], " "]
        at = end
    return "".join([*parts, text[at:]])


def _inline(token: Token) -> str:
    """Returns the text of a line, with link and alternative texts but without addresses and markup."""
    parts = []
    for child in token.children or ():
        if child.type in ("text", "code_inline"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(child.content)
    return "".join(parts)
