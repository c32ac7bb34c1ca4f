"""`/v1/admin/keys`: a tenant's API keys. A key itself is only in the answer to its creation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admin_bodies import KeyRequest, RotationRequest
from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response, seconds, text_query
from serving.api.services import Services
from serving.core.ids import now
from serving.core.principal import BY_NAME, SCOPES_OF, allowed
from serving.inference.exchange import Exchange
from serving.protocol.errors import forbidden, invalid, not_found
from serving.store.errors import NotFound
from serving.store.keys import ApiKey


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a key for a user, and returns it this once."""
    _refuse_repetition(request)
    principal = await acting(s, request, x)
    body = await read_json(request, KeyRequest, s.limits)
    try:
        user = await s.users.get(principal, body.user)
    except NotFound:
        raise not_found("user", "user") from None
    most = SCOPES_OF[user.role]
    if body.scopes is None:
        scopes = most & x.caller.scopes
    else:
        scopes = frozenset(body.scopes)
        if not scopes <= (possible := most | BY_NAME[user.role]):
            named = ", ".join(sorted(possible))
            raise invalid(f"A user of role {user.role} can have the scopes {named}.", "scopes")
        _require_own(x, allowed(scopes, user.role))
    expires_at = now() + body.expires_in_s if body.expires_in_s is not None else None
    made, key = await s.authenticator.issue(
        principal, name=body.name, user=user.user, scopes=scopes, expires_at=expires_at
    )
    return JsonResponse(_render(made) | {"key": key})


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the keys, or those of one user, that end or that nobody uses; `q` is a part of the name."""
    principal = await acting(s, request, x)
    found = await s.keys.list(
        principal,
        user=text_query(request, "user", 256),
        name=text_query(request, "q", 256),
        expires_before=seconds(request, "expires_before"),
        unused_since=seconds(request, "unused_since"),
        **page_query(request),
    )
    return page_response(found, _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a key's metadata."""
    principal = await acting(s, request, x)
    return JsonResponse(_render(await s.keys.get(principal, request.path_params["key_id"])))


async def revoke(s: Services, request: Request, x: Exchange) -> Response:
    """Revokes a key for good."""
    principal = await acting(s, request, x)
    id = request.path_params["key_id"]
    if (await s.keys.get(principal, id)).revoked_at is not None:
        x.unchanged()
    return JsonResponse(_render(await s.keys.revoke(principal, id)))


async def rotate(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a key that replaces another, which stays valid for the overlap, and returns it this once."""
    _refuse_repetition(request)
    principal = await acting(s, request, x)
    body = await read_json(request, RotationRequest, s.limits)
    old = await s.keys.get(principal, request.path_params["key_id"])
    if not old.bootstrap:  # which cannot be rotated, whoever the caller is
        _require_own(x, old.scopes)
    made, key = await s.authenticator.rotate(principal, old.id, overlap_s=body.overlap_s)
    return JsonResponse(_render(made) | {"key": key})


def _require_own(x: Exchange, scopes: Iterable[str]) -> None:
    """Raises a 403 for scopes that the caller does not have: nobody can grant more than they have."""
    if missing := sorted(frozenset(scopes) - x.caller.scopes):
        raise forbidden("insufficient_scope", f"Granting the scope {missing[0]} requires a key that has it.")


def _refuse_repetition(request: Request) -> None:
    """Raises a 400 for a request that relies on its answer being stored: keys are not stored."""
    if "idempotency-key" in request.headers:
        raise invalid(
            "A request whose answer contains a key cannot be repeated, since the key is not stored.",
            code="idempotency_not_supported",
        )


def _render(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "object": "key",
        "tenant": key.tenant,
        "user": key.user,
        "name": key.name,
        "scopes": key.scopes,
        "created_at": int(key.created_at),
        "expires_at": _seconds(key.expires_at),
        "revoked_at": _seconds(key.revoked_at),
        "last_used_at": _seconds(key.last_used_at),
        "rotated_to": key.rotated_to,
    }


def _seconds(at: float | None) -> int | None:
    return int(at) if at is not None else None
