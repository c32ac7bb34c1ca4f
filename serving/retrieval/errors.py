"""The errors of retrieval. Messages are for users: they never contain a document's text."""

from __future__ import annotations

from typing import Literal

Code = Literal["empty", "encrypted", "damaged", "wrong_type", "unsupported", "not_text", "too_large", "too_complex"]


class UnreadableDocument(ValueError):
    """A document that cannot be indexed, and why; `code` is the answer's."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class IncompatibleCollection(RuntimeError):
    """A collection that was built otherwise (another embedder, chunker or format): it must be re-indexed."""


class CollectionNotFound(LookupError):
    """There is no collection with this id."""
