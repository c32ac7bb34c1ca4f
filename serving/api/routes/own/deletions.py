"""`/v1/me/deletions`: receipts of what the caller deleted, which an auditor finds in the audit log."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.errors import not_found
from serving.store.history.deletions import Deletion, Deletions
from serving.store.relational.rows import Page


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists receipts of the caller's deletions of conversations and memories, the newest first."""
    query = page_query(request)
    actor = await s.audit.known_pseudonym(x.caller.tenant, x.caller.user)
    if actor is None:
        return page_response(Page([], has_more=False), _receipt)
    found = await Deletions(s.database).page(x.caller, actor, after=query["after"], limit=query["limit"])
    return page_response(found, _receipt)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the receipt of a deletion, by its id or that of the deleted conversation or memory."""
    actor = await s.audit.known_pseudonym(x.caller.tenant, x.caller.user)
    if actor is None:
        raise not_found("deletion")
    return JsonResponse(_receipt(await Deletions(s.database).get(x.caller, actor, request.path_params["deletion_id"])))


def _receipt(deletion: Deletion) -> dict[str, Any]:
    return {
        "id": deletion.id,
        "object": "deletion",
        "created_at": int(deletion.at),
        "kind": deletion.kind,
        "deleted": deletion.deleted,
        "items": deletion.items,
        "status": "finished" if deletion.finished else "begun",
        "actor": deletion.actor,
        "event": {"id": str(deletion.event), "hash": deletion.hash},
    }
