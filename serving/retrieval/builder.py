"""Builds a `Document` block by block, within bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Self

from serving.retrieval.errors import UnreadableDocument
from serving.retrieval.types import Block, Document

_SEPARATOR = "\n\n"
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class ChunkBounds:
    """Limits on what one document may expand to. `unpacked_bytes` and `ratio` limit the content of a zip archive.

    `characters` limits the text of any file, `growth` its characters per byte of the file; but a text of `small`
    characters is never too large, since a small file is mostly the frame of its format.
    """

    characters: int = 20_000_000
    growth: int = 20
    small: int = 1_000_000
    blocks: int = 200_000
    pages: int = 5_000
    scanned_pages: int = 30  # recognising one takes about 5 s of CPU time
    pixels: int = 50_000_000
    depth: int = 100
    elements_deep: int = 500  # Chromium flattens deeper nesting
    unpacked_bytes: int = 200_000_000
    ratio: int = 200

    def of_file(self, size: int) -> Self:
        """Returns the bounds of a file of `size` bytes."""
        return replace(self, characters=min(self.characters, max(self.small, self.growth * size)))


class DocumentBuilder:
    """Collects blocks in reading order and keeps the current heading path (1 is the topmost level)."""

    def __init__(self, kind: str, bounds: ChunkBounds) -> None:
        self.kind = kind
        self.bounds = bounds
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._path: list[tuple[int, str]] = []
        self._title = ""
        self.unreadable = 0
        """Characters of the file that have no letters."""
        self.unread_pages = 0
        """Pages with text that could not be recognised."""

    @property
    def empty(self) -> bool:
        return not self._blocks

    def heading(self, text: str, level: int, page: int | None = None) -> None:
        """Opens a section. The first heading becomes the title, unless a better one is known."""
        text = " ".join(_clean(text).split())
        if not text:
            return
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, text[:300]))
        self._title = self._title or text
        self._append(text[:300], page)

    def add(self, text: str, page: int | None = None, *, indented: bool = False, row: bool = False) -> None:
        """Adds a paragraph-like block; blank text is skipped. The first line of an `indented` block keeps its
        indentation. A table's `row` is divided between chunks only at its cells.
        """
        text = "\n".join(line.rstrip(" \t\r") for line in _clean(text).split("\n"))
        text = text.strip("\n") if indented and text.strip() else text.strip()
        if text:
            self._append(text, page, row)

    def build(self, name: str, title: str = "") -> Document:
        """Returns the finished document. `title` takes precedence over its first heading, and that over the file's
        name.
        """
        if not self._blocks:
            raise UnreadableDocument("empty", "the file contains no text")
        best = " ".join(_clean(title).split()) or self._title or PurePosixPath(name.replace("\\", "/")).stem
        text = _SEPARATOR.join(self._parts)
        return Document(self.kind, best[:300], text, tuple(self._blocks), self.unreadable, self.unread_pages)

    def require_room(self, characters: int) -> None:
        """Raises `UnreadableDocument` unless that many characters still fit: call it before a long block is made."""
        if self._length + characters > self.bounds.characters:
            raise UnreadableDocument(
                "too_long", f"the text has more than {self.bounds.characters:,} characters, the limit for this file"
            )

    def _append(self, text: str, page: int | None, row: bool = False) -> None:
        start = self._length + (len(_SEPARATOR) if self._parts else 0)
        self.require_room(start - self._length + len(text))
        if len(self._blocks) >= self.bounds.blocks:
            raise UnreadableDocument("too_complex", f"the file has more than {self.bounds.blocks:,} blocks")
        self._blocks.append(Block(text, start, tuple(t for _, t in self._path), page, row))
        self._parts.append(text)
        self._length = start + len(text)


def _clean(text: str) -> str:
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
