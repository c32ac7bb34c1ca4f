"""`/v1/admin/keys`: a tenant's API keys. A key itself is only in the answer to its creation."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admin_bodies import KeyRequest, RotationRequest
from serving.api.administered_tenant import acting
from serving.api.documents.keys import key_document, record_change, refuse_repetition, require_own
from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response, seconds, text_query
from serving.api.services import Services
from serving.core.ids import now
from serving.core.principal import BY_NAME, SCOPES_OF, allowed
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid, not_found
from serving.store.errors import NotFound


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a key for a user, and returns it this once.

    One for somebody else permits nothing until they confirm it.
    """
    refuse_repetition(request)
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
        require_own(x, allowed(scopes, user.role))
    expires_at = now() + body.expires_in_s if body.expires_in_s is not None else None
    made, key = await s.authenticator.issue(
        principal,
        name=body.name,
        user=user.user,
        scopes=scopes,
        expires_at=expires_at,
        confirmed=_acts_at_once(x, principal.tenant, user.user),
    )
    await x.record(made.id, subject=made.user)
    return JsonResponse(key_document(made) | {"key": key})


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
    return page_response(found, key_document)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a key's metadata."""
    principal = await acting(s, request, x)
    return JsonResponse(key_document(await s.keys.get(principal, request.path_params["key_id"])))


async def revoke(s: Services, request: Request, x: Exchange) -> Response:
    """Revokes a key for good."""
    principal = await acting(s, request, x)
    id = request.path_params["key_id"]
    before = await s.keys.get(principal, id)
    revoked = await s.keys.revoke(principal, id)
    await record_change(x, before, changes=before.revoked_at is None)
    return JsonResponse(key_document(revoked))


async def rotate(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a key that replaces another, which stays valid for the overlap, and returns it this once.

    One of somebody else permits nothing until they confirm it.
    """
    refuse_repetition(request)
    principal = await acting(s, request, x)
    body = await read_json(request, RotationRequest, s.limits)
    old = await s.keys.get(principal, request.path_params["key_id"])
    if not old.bootstrap:  # which cannot be rotated, whoever the caller is
        require_own(x, old.scopes)
    made, key = await s.authenticator.rotate(
        principal, old.id, overlap_s=body.overlap_s, confirmed=_acts_at_once(x, old.tenant, old.user)
    )
    await x.record(old.id, subject=old.user, detail={"rotated_to": made.id})
    return JsonResponse(key_document(made) | {"key": key})


def _acts_at_once(x: Exchange, tenant: str, user: str) -> bool:
    """Returns whether a key that the caller makes may act as a user before the user confirms it.

    A tenant's admin would otherwise read what its users store, while nothing is hidden from the platform.
    """
    return (x.caller.tenant, x.caller.user) == (tenant, user) or "platform" in x.caller.scopes
