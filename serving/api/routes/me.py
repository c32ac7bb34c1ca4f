"""`GET /v1/me`: the caller's identity and scopes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.inference.exchange import Exchange


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the caller: tenant, user, role, groups and scopes."""
    caller = x.caller
    return JsonResponse(
        {
            "id": caller.user,
            "object": "me",
            "tenant": caller.tenant,
            "role": caller.role,
            "groups": sorted(caller.groups),
            "scopes": sorted(caller.scopes),
            "key_id": caller.key_id,
        }
    )
