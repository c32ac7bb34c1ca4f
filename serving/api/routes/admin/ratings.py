"""`/v1/admin/feedback/summary`: how a tenant's users rate, without what they wrote."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.paging import days, one_of, page_query, page_response, text_query
from serving.api.services import Services
from serving.core.ids import now
from serving.inference.exchange import Exchange
from serving.quotas.windows import day
from serving.store.history.rating_counts import BY, RatingCount


async def summary(s: Services, request: Request, x: Exchange) -> Response:
    """Counts a tenant's ratings by day, assistant or model."""
    principal = await acting(s, request, x)
    by: Any = one_of(request.query_params.get("by"), "by", BY) or "day"
    first, last = days(request, day(now()))
    found = await s.rating_counts.page(
        principal,
        by=by,
        first_day=first,
        last_day=last,
        after=text_query(request, "after", 256),
        limit=page_query(request)["limit"],
    )
    return page_response(found, _render)


def _render(count: RatingCount) -> dict[str, Any]:
    return {"object": "feedback.summary", **asdict(count)}
