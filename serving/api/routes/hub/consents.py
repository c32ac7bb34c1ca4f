"""`/v1/hub/versions/{version_id}/consents`: which other tenants may use a version of this one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.hub.servable import require_adapter
from serving.api.services import Services
from serving.hub.consents import Consent
from serving.inference.exchange import Exchange
from serving.protocol.errors import invalid
from serving.protocol.versions import ConsentRequest, ConsentRevocation


async def list_all(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the consents of a version, with those that were revoked."""
    found = await s.registry.consents.list(x.caller, request.path_params["version_id"])
    return JsonResponse({"object": "list", "data": [_render(each) for each in found]})


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Lets another tenant call an adapter that is live, and release it if the scope says so."""
    body = await read_json(request, ConsentRequest, s.limits)
    version = await s.registry.versions.get(x.caller, request.path_params["version_id"])
    require_adapter(version)
    if body.tenant == x.caller.tenant:
        raise invalid("The version is this tenant's own.", "tenant")

    async def give() -> Consent:
        made = await s.registry.consents.give(x.caller, version.id, body.tenant, body.scope)
        await x.record(version.id, {"tenant": body.tenant, "scope": body.scope})
        return made

    made = await s.database.atomically(give)
    await s.live.follow_consents(version.base)  # after it is stored: nobody may call what nobody agreed to
    await s.follow_adapters()
    return JsonResponse(_render(made))


async def revoke(s: Services, request: Request, x: Exchange) -> Response:
    """Ends a consent: within seconds the other tenant finds no such model any more."""
    body = await read_json(request, ConsentRevocation, s.limits)
    version = await s.registry.versions.get(x.caller, request.path_params["version_id"])

    async def end() -> Consent:
        ended = await s.registry.consents.revoke(x.caller, version.id, body.tenant)
        await x.record(version.id, {"tenant": body.tenant})
        await s.live.follow_consents(version.base)
        return ended

    ended = await s.database.atomically(end)
    await s.follow_adapters()
    return JsonResponse(_render(ended))


def _render(consent: Consent) -> dict[str, Any]:
    return {
        "object": "hub.consent",
        "version": consent.version,
        "tenant": consent.grantee,
        "scope": consent.scope,
        "created_at": int(consent.created_at),
        "created_by": consent.created_by,
        "revoked_at": int(consent.revoked_at) if consent.revoked_at is not None else None,
    }
