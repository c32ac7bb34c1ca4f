"""A temporary database for what an export must remember, so that memory does not grow with the rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import ClassVar, Self

from serving.store.errors import StoreUnavailable


class Scratch:
    """Tables in a file that SQLite deletes with its connection. Threads may take turns with it."""

    TABLES: ClassVar[Sequence[str]]
    """The statements that create them."""

    CONTENT: ClassVar[str]
    """What they hold, for an error."""

    def __enter__(self) -> Self:
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA synchronous = OFF", "PRAGMA journal_mode = OFF", *self.TABLES):
            self._connection.execute(statement)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises `StoreUnavailable` when the folder for temporary files is full."""
        try:
            yield
        except sqlite3.Error as e:
            raise StoreUnavailable(f"{self.CONTENT} cannot be written to the folder for temporary files: {e}") from e
