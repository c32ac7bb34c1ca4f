"""Who is asking: made from a verified key or token, never from a header that the caller can choose."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified caller. Every store and retrieval call takes one; another tenant's object is not found."""

    tenant: str
    user: str
    key_id: str
    scopes: frozenset[str] = frozenset()
