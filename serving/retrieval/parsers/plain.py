"""Plain text: paragraphs are separated by blank lines."""

from __future__ import annotations

import re

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.types import Document


def parse_plain(text: str, name: str, bounds: ChunkBounds) -> Document:
    builder = DocumentBuilder("text", bounds)
    add_paragraphs(builder, text)
    return builder.build(name)


def add_paragraphs(builder: DocumentBuilder, text: str, *, indented: bool = False) -> None:
    for paragraph in re.split(r"\n[ \t\r]*\n", text.replace("\r\n", "\n")):
        builder.add(paragraph, indented=indented)
