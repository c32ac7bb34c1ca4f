"""Source code and configuration: verbatim text, divided at definitions and sections."""

from __future__ import annotations

from pathlib import PurePosixPath

from serving.retrieval.builder import ChunkBounds, DocumentBuilder
from serving.retrieval.parsers.languages import LANGUAGES
from serving.retrieval.parsers.plain import add_paragraphs
from serving.retrieval.types import Document

_BEFORE = frozenset(
    """
    abstract async data default export extern final inline internal open override private protected pub public sealed
    static unsafe
    """.split()  # noqa: SIM905
)
_DEFINES = frozenset(
    """
    class def defmodule enum extension fn fun func function impl interface message mod module namespace object package
    protocol record resource service struct trait type union CREATE create
    """.split()  # noqa: SIM905
)


def parse_code(text: str, name: str, bounds: ChunkBounds) -> Document:
    """The title is the file's name with its extension; the kind is its language."""
    path = PurePosixPath(name.replace("\\", "/"))
    language = next((each for each, ends in LANGUAGES.items() if path.suffix.lower() in ends), "code")
    builder = DocumentBuilder(language, bounds)
    section: list[str] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if _begins_section(line, language):
            add_paragraphs(builder, "\n".join(section), indented=True)
            section.clear()
            builder.heading(line, 1)
        else:
            section.append(line)
    add_paragraphs(builder, "\n".join(section), indented=True)
    return builder.build(name, path.name)


def _begins_section(line: str, language: str) -> bool:
    if not line or not (line[0].isalpha() or line[0] in "[\"'_"):
        return False
    if language == "yaml":  # a key with a mapping, a list or a block of text, but not one with a one-line value
        return line.rstrip().endswith((":", ": |", ": >", ": |-", ": >-"))
    if language in ("toml", "ini"):
        return line.startswith("[")
    for word in line.split()[:8]:
        if word in _DEFINES or word.startswith("func("):
            return True
        if word not in _BEFORE and not word.startswith("pub("):
            return False
    return False
