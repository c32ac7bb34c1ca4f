"""The errors of retrieval. Messages are shown to users and never contain a document's text."""

from __future__ import annotations

from typing import Literal

Code = Literal[
    "empty", "encrypted", "damaged", "wrong_type", "unsupported", "not_text", "too_large", "too_long", "too_complex"
]


class UnreadableDocument(ValueError):
    """A document that cannot be indexed, and the reason; `code` is the error code of the API."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class IncompatibleCollection(RuntimeError):
    """A collection that was built with another embedder, chunker or format; it must be re-indexed."""


class CollectionNotFound(LookupError):
    """There is no collection with this id."""
