"""Findings of checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A span of a text, `text[start:end]`, and its kind. It never contains the text itself.

    `since` is where the evidence begins, such as the word `password` before a value; None is `start`.
    """

    start: int
    end: int
    kind: str
    since: int | None = None

    @property
    def begins(self) -> int:
        """The offset from which the text must be read to find it again."""
        return self.start if self.since is None else self.since


class Check(Protocol):
    """Finds things in a text.

    A finding is recognised within `window.HOLD` characters of its start, whatever follows: of a stream, a check sees no
    more than that at a time.
    """

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns findings that begin at or after `start`; the text before it is context."""
        ...
