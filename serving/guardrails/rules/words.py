"""Finds words and phrases of a topic list."""

from __future__ import annotations

import re
from collections.abc import Sequence

from serving.guardrails.rules import canonical
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.scan import scan


class Words:
    """Whole words or phrases, whatever their case, accents and look-alike letters."""

    def __init__(self, phrases: Sequence[str]) -> None:
        # Longest first: of two with the same beginning, the longer one is more specific.
        folded = sorted((canonical.skeleton(p).text.split() for p in phrases), key=lambda p: -sum(map(len, p)))
        joined = "|".join(r"\s{1,4}".join(map(re.escape, phrase)) for phrase in folded if phrase)
        self._form = re.compile(rf"(?<!\w)(?:{joined})(?!\w)") if joined else None

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns findings that begin at or after `start`."""
        if self._form is None:
            return []
        seen = canonical.skeleton(text)
        return [Finding(*seen.span(*match.span()), "word") for match in scan(self._form, seen.text, seen.index(start))]
