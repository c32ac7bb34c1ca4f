"""`/v1/admin/users/{id}/sessions`: where a user is signed in. What proves a session, its cookie, is in no answer."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse
from serving.api.paging import page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.store.relational.rows import Page
from serving.store.sessions import Session


async def list_all(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a user's sessions that have not ended, the newest first: at most 16."""
    principal = await acting(s, request, x)
    found = await s.sessions.of_user(principal, request.path_params["user_id"])
    return page_response(Page(list(found), has_more=False), _render)


async def end_all(s: Services, request: Request, x: Exchange) -> Response:
    """Ends all sessions of a user, who can sign in again; keys stay valid."""
    principal = await acting(s, request, x)
    ended = await s.sessions.end_all(principal, request.path_params["user_id"])
    if not ended:
        x.unchanged()
    return JsonResponse({"object": "sessions.deleted", "deleted": ended})


def _render(session: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "object": "session",
        "provider": session.issuer or None,
        "key_id": session.key_id,
        "created_at": int(session.created_at),
        "last_used_at": int(session.used_at),
        "expires_at": int(session.expires_at),
    }
