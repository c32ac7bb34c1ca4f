"""Masks secrets that a server repeats in its answers."""

from __future__ import annotations

from collections.abc import Iterable

SHORTEST = 8
"""Minimum length of a secret that is masked."""


def masked(text: str, secrets: Iterable[str]) -> str:
    """Returns `text` without `secrets` and the words in them."""
    parts = {part for secret in secrets for part in (secret, *secret.split()) if len(part) >= SHORTEST}
    for part in sorted(parts, key=len, reverse=True):  # one can be a prefix of another
        text = text.replace(part, "[secret]")
    return text
