"""Secrets that were sent to a server and that it repeats, which some do."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 8
"""Characters from which on a secret is looked for in an answer."""


def masked(text: str, secrets: Iterable[str]) -> str:
    """Returns `text` without `secrets` and the words that they are made of."""
    parts = {part for secret in secrets for part in (secret, *secret.split()) if len(part) >= SHORTEST}
    for part in sorted(parts, key=len, reverse=True):  # one can be the beginning of another
        text = text.replace(part, "[secret]")
    return text
