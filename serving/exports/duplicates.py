"""Detects repeated rows."""

from __future__ import annotations

from serving.exports.scratch import Scratch


class DigestSet(Scratch):
    """A set of digests. Raises `StoreUnavailable` when the folder for temporary files is full."""

    TABLES = ("CREATE TABLE seen (digest BLOB PRIMARY KEY) WITHOUT ROWID",)
    CONTENT = "digests of rows"

    def add(self, digest: bytes) -> bool:
        """Adds a digest and returns whether it is new."""
        with self._writing():
            return self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount == 1
