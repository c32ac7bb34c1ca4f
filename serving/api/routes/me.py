"""`GET /v1/me`: the caller's identity and scopes, and what the stack takes and keeps."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.retrieval.parsers import kinds


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the caller: tenant, user, role, groups and scopes; with the stack's limits, capture and retention."""
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
            "confirmed": caller.confirmed,
            "headrace": {
                "limits": {
                    "upload_bytes": s.limits.upload_bytes,
                    "characters": s.limits.characters,
                    "messages": s.limits.messages,
                    "file_kinds": sorted(kinds()),
                },
                "capture": s.config.capture,
                "retention": s.config.retention.model_dump(),
            },
        }
    )
