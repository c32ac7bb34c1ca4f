"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A span of a text, `text[start:end]`, and what kind of thing stands there. It never holds the text itself.

    `since` is where what tells it begins, such as the word `password` before one; None is `start`.
    """

    start: int
    end: int
    kind: str
    since: int | None = None

    @property
    def begins(self) -> int:
        """Where it would have to be read from to be found again."""
        return self.start if self.since is None else self.since


class Check(Protocol):
    """Finds things in a text.

    A finding is recognised within `window.HOLD` characters of its start, whatever follows: a stream is checked with
    no more than that before its eyes.
    """

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns what begins at or after `start`; what stands before it is context."""
        ...
