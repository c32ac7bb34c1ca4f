"""Applies rules to a text that arrives in parts, with the same result as for the whole text, however it is divided."""

from __future__ import annotations

from collections.abc import Sequence

from serving.guardrails.screen import Rule, RuleFinding, Screened, apply, find

HOLD = 256
"""Number of characters that are held back: a finding is recognised within this many from its beginning."""

STEP = 64
"""Number of new characters after which the text is checked again."""

CONTEXT = 64
"""Number of released characters that are kept as context for checks."""


class Window:
    """The text of one choice of a stream. Released text has been checked; a finding is released completely or not at
    all.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._text = ""
        self._sent = 0  # released characters of `_text`
        self._offset = 0  # offset of `_text` in the whole text
        self._looked_at = 0
        self.blocked = False

    def feed(self, piece: str) -> Screened:
        """Takes a piece and returns what can leave; offsets of what was found are those of the whole text."""
        if self.blocked:
            return Screened("", blocked=True)
        self._text += piece
        # A long finding that goes on and on is not looked at anew with every piece of it.
        waiting = len(self._text) - self._sent
        if waiting <= HOLD or len(self._text) - self._looked_at < max(STEP, waiting // 4):
            return Screened("")
        return self._leave(len(self._text) - HOLD)

    def end(self) -> Screened:
        """Returns all that is left."""
        return Screened("", blocked=True) if self.blocked else self._leave(len(self._text))

    def _leave(self, safe: int) -> Screened:
        self._looked_at = len(self._text)
        found = find(self._text, self._rules, self._sent)
        # What is found leaves whole, or waits: where the text is cut instead, another finding may stand.
        while cut := [f.finding.begins for f in found if f.finding.begins < safe < f.finding.end]:
            safe = min(cut)
        safe = max(safe, self._sent)
        gone = [f for f in found if f.finding.end <= safe and f.finding.start < safe]
        result = apply(self._text, gone, self._sent, safe)
        moved = tuple(self._placed(f) for f in gone)
        self.blocked = result.blocked
        self._sent = safe
        if (drop := self._sent - CONTEXT) > 0:
            self._text = self._text[drop:]
            self._sent -= drop
            self._looked_at -= drop
            self._offset += drop
        return Screened(result.text, moved, result.blocked)

    def _placed(self, found: RuleFinding) -> RuleFinding:
        f = found.finding
        return RuleFinding(found.rule, type(f)(f.start + self._offset, f.end + self._offset, f.kind))
