"""`/v1/admin/quotas`: limits of a tenant, its users, its keys and its models."""

from __future__ import annotations

from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_document, page_query, text_query
from serving.api.quota_bodies import QuotaEntry, QuotasRequest
from serving.api.quota_documents import amount_field, quota_documents
from serving.api.services import Services
from serving.config import Subject
from serving.core.principal import Principal
from serving.inference.exchange import Exchange
from serving.protocol.errors import forbidden, invalid
from serving.quotas.quota import Quota, SetBy, quota
from serving.store.relational.rows import Page


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the quotas that were set, with the usage of each, but not the defaults."""
    subject: Any = one_of(request.query_params.get("subject"), "subject", get_args(Subject))
    page = await s.quotas.list_quotas(
        await acting(s, request, x), subject=subject, subject_id=text_query(request, "id", 256), **page_query(request)
    )
    data = await quota_documents(s, page.items)
    return JsonResponse(page_document(Page(data, page.has_more), dict, "quota_id"))


async def list_defaults(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the limits that the configuration sets for each tenant, user and key."""
    subjects: tuple[Subject, ...] = ("tenant", "user", "key")
    defaults = s.config.quotas
    data = [
        _default(quota(x.caller.tenant, subject, "", limit, "configuration"))
        for subject in subjects
        for limit in getattr(defaults, subject)
    ]
    return JsonResponse({"object": "list", "data": data, "warn_at": defaults.warn_at})


def _default(each: Quota) -> dict[str, Any]:
    return {
        "object": "quota.default",
        "subject": each.subject,
        "window": each.window,
        "measure": each.measure,
        "currency": each.currency or None,
        "limit": amount_field(each, each.limit),
    }


async def put(s: Services, request: Request, x: Exchange) -> Response:
    """Sets quotas, all or none; every gateway enforces them within seconds."""
    caller = await acting(s, request, x)
    body = await read_json(request, QuotasRequest, s.limits)
    await s.keeper.reload()
    given = [_requested_quota(s, caller, each, f"quotas[{place}]") for place, each in enumerate(body.quotas)]

    async def put_all() -> None:
        await s.quotas.put(caller, given)
        await x.record(None)

    await s.database.atomically(put_all)
    await s.keeper.reload()
    data = await quota_documents(s, given)
    return JsonResponse({"object": "list", "data": data})


def _requested_quota(s: Services, caller: Principal, each: QuotaEntry, at: str) -> Quota:
    """Returns the requested quota; raises a 400, or a 403 for one above the platform's."""
    if each.subject == "tenant" and each.id != caller.tenant:
        raise invalid("The subject_id of a tenant's quota must be the tenant.", f"{at}.id")
    platform = "platform" in caller.scopes
    set_by: SetBy = each.set_by or ("platform" if platform else "tenant")
    if set_by == "platform" and not platform:
        raise forbidden("platform_quota", "Setting this quota requires a key with the scope platform.", f"{at}.set_by")
    given = quota(caller.tenant, each.subject, each.id, each, set_by)
    ceiling = s.keeper.ceiling(given)
    if set_by == "tenant" and not platform and ceiling is not None and given.limit > ceiling.limit:
        limit = amount_field(ceiling, ceiling.limit)
        message = f"The platform's quota of {ceiling.description} is {limit}: yours cannot be higher."
        raise forbidden("platform_quota", message, f"{at}.limit")
    return given


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Removes a quota; the default applies again if there is one."""
    id = text_query(request, "quota_id", 64)
    if not id:
        raise invalid("quota_id must name the quota to remove.", "quota_id")
    caller = await acting(s, request, x)

    async def remove() -> None:
        await s.quotas.delete(caller, id)
        await x.record(id)

    await s.database.atomically(remove)
    await s.keeper.reload()
    return JsonResponse({"id": id, "object": "quota.deleted", "deleted": True})
