"""The values of retrieval: documents, chunks, hits and citations. Offsets are character indexes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["hybrid", "dense", "bm25"]
"""Which searches find hits: by vectors, by words, or both."""

MAX_QUESTION = 8_192
"""Number of characters of a question that are searched for, from its beginning."""


CELLS = " | "
"""What divides the cells of a table row in a document's text."""


@dataclass(frozen=True, slots=True)
class Block:
    """A heading, paragraph, list item, table row or code block of a document.

    `document.text[start:start + len(text)] == text`. A heading's own path ends with the heading itself.
    `row` says that it is a table row, whose cells are divided by `CELLS`.
    """

    text: str
    start: int
    heading: tuple[str, ...] = ()
    page: int | None = None
    row: bool = False

    @property
    def is_heading(self) -> bool:
        return bool(self.heading) and self.heading[-1] == self.text


@dataclass(frozen=True, slots=True)
class Document:
    """Extracted plain text and its blocks, in order; blocks are separated only by white space.

    `unreadable` counts characters of the file that are not in the text, since no letters are known for them, and
    `unread_pages` pages whose text could not be recognised.
    """

    kind: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    unreadable: int = 0
    unread_pages: int = 0


@dataclass(frozen=True, slots=True)
class AttachedDocument:
    """A file of a conversation or a request. `key` identifies its content, and `file_id` is "" if it is not stored."""

    key: str
    file_id: str
    file_name: str
    document: Document

    @property
    def id(self) -> str:
        """Its id in an index: that of the stored file, or one for its content."""
        return self.file_id or f"attached-{self.key[:32]}"


@dataclass(frozen=True, slots=True)
class Extraction:
    """How much of a file's text is in its chunks, in characters without white space.

    `characters` counts those that were found in the file, with the column names that table rows repeat, and
    `unread_pages` scanned pages whose text could not be recognised.
    """

    characters: int
    characters_in_chunks: int
    unread_pages: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document: `document.text[start:end] == text`. `heading` is a path joined by ` > `."""

    ordinal: int
    title: str
    heading: str
    text: str
    start: int
    end: int
    page: int | None

    @property
    def body(self) -> str:
        """The embedded and indexed text: the chunk's text below its title and heading."""
        return prefix(self.title, self.heading) + self.text


def prefix(title: str, heading: str) -> str:
    """Returns the context lines that precede a chunk's text when it is embedded and indexed."""
    return "".join(f"{line}\n" for line in (title, heading) if line)


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that a search found.

    `score` is the fused score (0..1), `dense_score` the similarity of the vectors (at most 1, about 0 for unrelated
    texts), and `bm25_score` is 0 if the BM25 leg did not return the chunk. `start` and `end` are offsets in the
    document's text.

    `answers` are the characters of `text` (start and end, exclusive, in order) to quote as an answer: none of them if
    others answer, and None for all of the text. After a guardrail has changed `text`, `origins` are the characters of
    the document, from `start` on, that each of them stands for; None if they are the same.
    """

    chunk_id: str
    file_id: str
    file_name: str
    title: str
    heading: str
    text: str
    start: int
    end: int
    page: int | None
    score: float
    dense_score: float
    bm25_score: float
    answers: tuple[tuple[int, int], ...] | None = None
    origins: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True, slots=True)
class TextSpan:
    """Characters `start` to `end` (exclusive) of an answer."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a quote: characters of the document's plain text, and the page of a PDF (from 1)."""

    start: int
    end: int
    page: int | None


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of an answer (`start_index` to `end_index`, exclusive) and the sentence that supports it."""

    start_index: int
    end_index: int
    file_id: str
    file_name: str
    title: str
    quote: str
    position: Position
    support: float


@dataclass(frozen=True, slots=True)
class Attribution:
    """Citations and unsupported sentences of an answer: every sentence that makes a claim is one or the other."""

    citations: tuple[Citation, ...]
    unsupported: tuple[TextSpan, ...]
