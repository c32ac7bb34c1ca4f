"""`/v1/me/keys`: the API keys that act as the caller, whoever made them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admin_bodies import RotationRequest
from serving.api.documents.keys import key_document, record_change, refuse_repetition, require_own
from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.scopes import not_confirmed
from serving.api.services import Services
from serving.core.principal import SCOPES_OF, allowed
from serving.inference.exchange import Exchange
from serving.protocol.errors import not_found
from serving.store.keys import ApiKey


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the caller's keys, also those that somebody else made."""
    _require_confirmed(x)
    return page_response(await s.keys.list(x.caller, user=x.caller.user, **page_query(request)), key_document)


async def confirm(s: Services, request: Request, x: Exchange) -> Response:
    """Lets a key that somebody else made act as the caller; who made it can then read what the caller stores."""
    _require_confirmed(x)
    found = await _own(s, request, x)
    confirmed = await s.keys.confirm(x.caller, found.id)
    await record_change(x, found, changes=not found.confirmed)
    return JsonResponse(key_document(confirmed))


async def revoke(s: Services, request: Request, x: Exchange) -> Response:
    """Revokes one of the caller's keys for good."""
    _require_confirmed(x)
    found = await _own(s, request, x)
    revoked = await s.keys.revoke(x.caller, found.id)
    await record_change(x, found, changes=found.revoked_at is None)
    return JsonResponse(key_document(revoked))


async def rotate(s: Services, request: Request, x: Exchange) -> Response:
    """Replaces one of the caller's keys by a key that only the caller knows, and returns it this once.

    A key that somebody else made can replace itself if it is the user's first. The new key ends when the old one would
    have: whoever holds a temporary key does not prolong it.
    """
    refuse_repetition(request)
    body = await read_json(request, RotationRequest, s.limits)
    found = await _own(s, request, x, receives=True)
    made, key = await s.authenticator.rotate(
        x.caller, found.id, overlap_s=body.overlap_s, confirmed=x.caller.confirmed or "first", renewed=False
    )
    await x.record(found.id, subject=x.caller.user, detail={"rotated_to": made.id})
    return JsonResponse(key_document(made) | {"key": key})


def _require_confirmed(x: Exchange) -> None:
    if not x.caller.confirmed:
        raise not_confirmed()


async def _own(s: Services, request: Request, x: Exchange, *, receives: bool = False) -> ApiKey:
    """Returns the caller's key in the path; raises a 404, and a 403 for one with more scopes than the caller has.

    No session has the scopes that only some keys have, so a user without such a key could not confirm or revoke one.
    The caller needs them all the same if it `receives` the key that has them.
    """
    found = await s.keys.get(x.caller, request.path_params["key_id"])
    if found.user != x.caller.user:
        raise not_found("key")
    if found.id != x.caller.key_id and not found.bootstrap:  # which nobody can change here, whoever the caller is
        _require_confirmed(x)
        permitted = allowed(found.scopes, x.caller.role)
        require_own(x, permitted if receives else permitted & SCOPES_OF[x.caller.role])
    return found
