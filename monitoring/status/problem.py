"""Why there is no answer, in one line."""

from __future__ import annotations


class Problem(Exception):
    """What the page shows in place of an answer; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
