"""Errors that the page shows."""

from __future__ import annotations


class Problem(Exception):
    """An error that the page shows instead of data, in one line; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
