"""API keys in answers and in the audit log, and what a request that makes one must fulfil."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request

from serving.inference.exchange import Exchange
from serving.protocol.errors import forbidden, invalid
from serving.store.keys import ApiKey


def key_document(key: ApiKey) -> dict[str, Any]:
    """Returns a key's metadata."""
    return {
        "id": key.id,
        "object": "key",
        "tenant": key.tenant,
        "user": key.user,
        "name": key.name,
        "scopes": key.scopes,
        "confirmed": key.confirmed,
        "created_at": int(key.created_at),
        "expires_at": _seconds(key.expires_at),
        "revoked_at": _seconds(key.revoked_at),
        "last_used_at": _seconds(key.last_used_at),
        "rotated_to": key.rotated_to,
    }


async def record_change(x: Exchange, before: ApiKey, *, changes: bool) -> None:
    """Records a request about a key in the audit log, unless it `changes` nothing."""
    if changes:
        await x.record(before.id, subject=before.user)
    else:
        x.unchanged()


def require_own(x: Exchange, scopes: Iterable[str]) -> None:
    """Raises a 403 for scopes that the caller does not have: nobody can grant more than they have."""
    if missing := sorted(frozenset(scopes) - x.caller.scopes):
        raise forbidden("insufficient_scope", f"Granting the scope {missing[0]} requires a key that has it.")


def refuse_repetition(request: Request) -> None:
    """Raises a 400 for a request that relies on its answer being stored: keys are not stored."""
    if "idempotency-key" in request.headers:
        raise invalid(
            "A request whose answer contains a key cannot be repeated, since the key is not stored.",
            code="idempotency_not_supported",
        )


def _seconds(at: float | None) -> int | None:
    return int(at) if at is not None else None
