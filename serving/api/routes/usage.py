"""`/v1/usage` and `/v1/admin/usage`: usage and its cost."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse
from serving.api.paging import days, one_of, page_document, page_query, text_query
from serving.api.quota_documents import quota_documents
from serving.api.services import Services
from serving.core.ids import now
from serving.core.principal import Principal
from serving.inference.exchange import Exchange
from serving.metering.cost import Cost
from serving.quotas.quota import amount
from serving.quotas.windows import day
from serving.store.relational.rows import Page
from serving.store.usage import UsageOf

OWN = ("day", "key", "model")
ALL = ("user", *OWN)


async def own(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the caller's usage by day, key or model, and the caller's quotas."""
    found = await _usage(s, request, x.caller, OWN, user=x.caller.user)
    quotas = await quota_documents(s, s.keeper.quotas_for(x.caller, ""))
    return JsonResponse({**_page(found), "quotas": quotas})


async def of_all(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a tenant's usage by day, user, key or model."""
    found = await _usage(s, request, await acting(s, request, x), ALL, user=text_query(request, "user", 256))
    return JsonResponse(_page(found))


async def _usage(
    s: Services, request: Request, principal: Principal, allowed: tuple[str, ...], *, user: str | None
) -> Page[UsageOf]:
    by: Any = one_of(request.query_params.get("by"), "by", allowed) or "day"
    first, last = days(request, day(now()))
    await s.keeper.tell()  # includes what this gateway has counted but not stored yet
    return await s.usage.list_usage(
        principal,
        by=by,
        first_day=first.isoformat(),
        last_day=last.isoformat(),
        user=user,
        model=text_query(request, "model", 256),
        after=text_query(request, "after", 256),
        limit=page_query(request, longest_id=256)["limit"],
    )


def _page(page: Page[UsageOf]) -> dict[str, Any]:
    return page_document(page, _usage_of)


def _usage_of(each: UsageOf) -> dict[str, Any]:
    return {
        "object": "usage",
        "id": each.id,
        "requests": each.requests,
        "prompt_tokens": each.prompt_tokens,
        "completion_tokens": each.completion_tokens,
        "cost": [Cost(amount(units, "money"), currency).document for currency, units in sorted(each.cost.items())],
    }
