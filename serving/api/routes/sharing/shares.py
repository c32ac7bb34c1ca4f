"""`/v1/shares`: conversations that people share, read-only, within their tenant."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_document, page_query, page_response, text_query
from serving.api.services import Services
from serving.core.principal import Principal
from serving.inference.exchange import Exchange
from serving.inference.sharing.visibility import reader_view
from serving.protocol.conversations import ShareRequest
from serving.protocol.errors import forbidden
from serving.store.sharing.shares import MAX_SHARED, SharedConversation


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Shares a conversation of the caller as it is now, with everybody in the tenant who knows the share's id."""
    _require_person(x)
    body = await read_json(request, ShareRequest, s.limits)
    sources = await s.sharing.shares.sources(x.caller, body.conversation, body.until)

    async def make() -> SharedConversation:
        made = await s.sharing.shares.create(x.caller, body.conversation, sources, expires_in_s=body.expires_in_s)
        await x.record(made.conversation_id)  # whoever knows a share's id may read it: the log does not tell
        return made

    return JsonResponse(_share(await s.database.atomically(make), x.caller))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the caller's shares that have not expired, the newest first; `conversation` restricts them to one."""
    id = text_query(request, "conversation", 64)
    found = await s.sharing.shares.list(x.caller, conversation=id, **page_query(request))
    return page_response(found, lambda share: _share(share, x.caller))


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a share of anybody in the caller's tenant."""
    return JsonResponse(_share(await s.sharing.shares.get(x.caller, request.path_params["share_id"]), x.caller))


async def list_items(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a share's items, the oldest first: answers only as far as the caller may read what they were made from."""
    asked = page_query(request, most=MAX_SHARED, order="asc")
    sources, found = await s.sharing.shares.items(x.caller, request.path_params["share_id"], **asked)
    withheld_from = await s.sharing.withheld_from(x.caller, sources)
    return JsonResponse(page_document(found, lambda item: reader_view(item, withheld_from)))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Revokes a share of the caller: nobody can read it any more."""
    _require_person(x)
    id = request.path_params["share_id"]

    async def revoke() -> None:
        await x.record(await s.sharing.shares.delete(x.caller, id))

    await s.database.atomically(revoke)
    return JsonResponse({"id": id, "object": "share.deleted", "deleted": True})


def _require_person(x: Exchange) -> None:
    """Raises a 403 for requests of an app: what they do ends with its run, or stays its caller's alone."""
    if x.run is not None:
        raise forbidden("app_cannot_share", "An app cannot share its caller's conversations, nor revoke shares.")


def _share(share: SharedConversation, caller: Principal) -> dict[str, Any]:
    """Returns a share; only its owner is told from which conversation it is."""
    own = share.user == caller.user
    return {
        "id": share.id,
        "object": "share",
        "created_at": int(share.created_at),
        "expires_at": int(share.expires_at),
        "owner": share.user,
        "conversation": share.conversation_id if own else None,
        "title": share.title if own else None,
    }
