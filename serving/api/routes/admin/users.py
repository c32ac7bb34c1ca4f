"""`/v1/admin/users`: a tenant's users, with their roles and groups."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.admin_bodies import UserRequest, UserUpdate
from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse, read_json
from serving.api.paging import flag, one_of, page_query, page_response, text_query
from serving.api.services import Services
from serving.core.principal import ROLES
from serving.inference.exchange import Exchange
from serving.store.users import User


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Creates a user."""
    principal = await acting(s, request, x)
    body = await read_json(request, UserRequest, s.limits)
    return JsonResponse(_render(await s.users.create(principal, body.id, role=body.role, groups=body.groups)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the users, or those of one role; `q` is a part of the name."""
    principal = await acting(s, request, x)
    role: Any = one_of(request.query_params.get("role"), "role", ROLES)
    found = await s.users.list(
        principal,
        name=text_query(request, "q", 256),
        role=role,
        disabled=flag(request, "disabled"),
        **page_query(request, longest_id=256),
    )
    return page_response(found, _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a user."""
    principal = await acting(s, request, x)
    return JsonResponse(_render(await s.users.get(principal, request.path_params["user_id"])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Changes a user's role or groups, or disables or enables the user."""
    principal = await acting(s, request, x)
    body = await read_json(request, UserUpdate, s.limits)
    changed = await s.users.update(
        principal, request.path_params["user_id"], role=body.role, groups=body.groups, disabled=body.disabled
    )
    return JsonResponse(_render(changed))


def _render(user: User) -> dict[str, Any]:
    return {
        "id": user.user,
        "object": "user",
        "tenant": user.tenant,
        "role": user.role,
        "groups": user.groups,
        "issuer": user.issuer,
        "created_at": int(user.created_at),
        "disabled": user.disabled_at is not None,
        "disabled_at": int(user.disabled_at) if user.disabled_at is not None else None,
    }
