"""Detects repeated rows with a file, so that memory does not grow with them."""

from __future__ import annotations

import sqlite3
from types import TracebackType
from typing import Self

from serving.store.errors import StoreUnavailable


class DigestSet:
    """A set of digests in a temporary database, which SQLite deletes with its connection.

    Raises `StoreUnavailable` when the folder for temporary files is full.
    """

    def __enter__(self) -> Self:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def add(self, digest: bytes) -> bool:
        """Adds a digest and returns whether it is new."""
        try:
            return self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1
        except sqlite3.Error as e:
            raise StoreUnavailable(f"digests of rows cannot be written to the folder for temporary files: {e}") from e
