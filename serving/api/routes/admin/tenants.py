"""`/v1/admin/tenants`: the tenants of the stack, for the platform only."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admin_bodies import TenantRequest, TenantUpdate
from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response, text_query
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.store.tenants import Tenant


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a tenant."""
    body = await read_json(request, TenantRequest, s.limits)
    return JsonResponse(_render(await s.tenants.create(body.id, name=body.name)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenants; `q` is a part of the id or the name."""
    given = page_query(request, longest_id=256)
    return page_response(await s.tenants.list(name=text_query(request, "q", 256), **given), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a tenant."""
    return JsonResponse(_render(await s.tenants.get(request.path_params["tenant_id"])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Renames, disables or enables a tenant."""
    body = await read_json(request, TenantUpdate, s.limits)
    id = request.path_params["tenant_id"]
    return JsonResponse(_render(await s.tenants.update(id, name=body.name, disabled=body.disabled)))


def _render(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "object": "tenant",
        "name": tenant.name,
        "created_at": int(tenant.created_at),
        "disabled": tenant.disabled_at is not None,
        "disabled_at": int(tenant.disabled_at) if tenant.disabled_at is not None else None,
    }
