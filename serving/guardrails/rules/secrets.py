"""Finds secrets: keys and tokens by their form, and values after a word such as `password`."""

from __future__ import annotations

import math
import re
from collections import Counter

from serving.core.patterns import TOKEN, TOKENS
from serving.guardrails.rules import canonical
from serving.guardrails.rules.finding import Finding
from serving.guardrails.rules.scan import scan

_FORMS = {
    **TOKENS,
    "url_credentials": r"(?<![a-zA-Z0-9+.-])[a-zA-Z][a-zA-Z0-9+.-]{1,31}://[^\s/@:]{0,64}:(?P<url>[^\s/@]{1,128})@",
    "bearer_token": (
        rf"(?i:\b(?:bearer|basic|token)\s{{1,4}})"
        rf"(?P<bearer>[{TOKEN}.~+/]{{16,128}}[{TOKEN}.~+/]{{0,4096}}={{0,2}})"
    ),
    "assigned": (
        r"(?i:(?<![a-z])(?:password|passwd|pwd|passphrase|passcode|secret|credential|api[ _-]?key|access[ _-]?key"
        r"|auth[ _-]?key|private[ _-]?key|client[ _-]?secret|(?:secret|aws)[ _-]?(?:access[ _-]?)?key|token|kennwort"
        r"|passwort|mot de passe|contrase(?:ñ|n)a|senha)(?:[_-]\w{1,16})?)"
        r"[\"'`]?\s{0,4}(?::=|=>|[:=]|\bis\b|\bist\b|\best\b)\s{0,4}[\"'`]?(?P<value>[^\s,;\"'`<>(){}\[\]]{6,128}[^\s,;\"'`<>(){}\[\]]{0,4096})"
    ),
}
_FIND = [(kind, re.compile(form)) for kind, form in _FORMS.items()]
_PLACEHOLDER = re.compile(r"(?i)your|example|change-?me|placeholder|dummy|redacted|x{4}|\*{3}|\.{3}|\$|%|removed")
LOOKED_AT = 128
"""Number of characters of a value that determine whether it is a secret."""

MIN_ENTROPY = 2.5
"""Entropy in bits per character of a value after a word such as `password`; ordinary words have no digits anyway."""


class Secrets:
    """Keys, tokens, private keys, credentials in URLs, and values that are called a password or a key."""

    def find(self, text: str, start: int = 0) -> list[Finding]:
        """Returns findings that begin at or after `start`."""
        seen = canonical.visible(text)
        found = []
        for kind, form in _FIND:
            for match in scan(form, seen.text, seen.index(start)):
                group = next(iter(match.groupdict()), None) or 0
                if group in ("value", "bearer") and not likely(match[group][:LOOKED_AT]):
                    continue
                since, _ = seen.span(*match.span())
                found.append(Finding(*seen.span(*match.span(group)), kind, since))
        return found


def likely(value: str) -> bool:
    """Returns whether a value looks generated or deliberately chosen: letters and digits, and no placeholder."""
    mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
    return mixed and not _PLACEHOLDER.search(value) and entropy(value) >= MIN_ENTROPY


def entropy(text: str) -> float:
    """Returns the Shannon entropy of the characters of `text`, in bits per character."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
