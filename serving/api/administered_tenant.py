"""The tenant that a route under `/v1/admin` administers."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request

from serving.api.paging import text_query
from serving.api.services import Services
from serving.core.principal import Principal
from serving.inference.exchange import Exchange
from serving.protocol.errors import not_found
from serving.store.errors import NotFound

MAX_TENANT = 256


async def acting(s: Services, request: Request, x: Exchange) -> Principal:
    """Returns the caller as a member of the tenant in `?tenant=`, by default the caller's own.

    The platform may name any tenant. For everybody else another tenant is a 404, whether it exists or not.
    """
    tenant = text_query(request, "tenant", MAX_TENANT)
    if tenant is None or tenant == x.caller.tenant:
        return x.caller
    if "platform" not in x.caller.scopes:
        raise not_found("tenant", "tenant")
    try:
        return replace(x.caller, tenant=(await s.tenants.get(tenant)).id)
    except NotFound:
        raise not_found("tenant", "tenant") from None
