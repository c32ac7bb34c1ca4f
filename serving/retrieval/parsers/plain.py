"""Plain text: paragraphs are separated by blank lines."""

from __future__ import annotations

import re

from serving.retrieval.builder import Bounds, DocumentBuilder
from serving.retrieval.types import Document


def parse_plain(text: str, name: str, bounds: Bounds) -> Document:
    builder = DocumentBuilder("text", bounds)
    for paragraph in re.split(r"\n[ \t\r]*\n", text.replace("\r\n", "\n")):
        builder.add(paragraph)
    return builder.build(name)
