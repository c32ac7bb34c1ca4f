"""`/v1/hub/suites`: prompts with checks, by which models are compared."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.hub.evaluation.checks import check_patterns
from serving.hub.suites import StoredSuite
from serving.inference.exchange import Exchange
from serving.protocol.suites import Suite


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Stores a suite; an equal one is returned as it is."""
    body = await read_json(request, Suite, s.limits)
    check_patterns(body)
    return JsonResponse(_render(await s.hub.suites.create(x.caller, body)))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's suites, the newest first, without their prompts."""
    return page_response(await s.hub.suites.list(x.caller, **page_query(request)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a suite with its prompts."""
    found = await s.hub.suites.get(x.caller, request.path_params["suite_id"])
    return JsonResponse(_render(found) | {"suite": found.content})


def _render(found: StoredSuite) -> dict[str, Any]:
    return {
        "id": found.id,
        "object": "hub.suite",
        "created_at": int(found.created_at),
        "name": found.name,
        "digest": found.digest,
        "prompts": found.prompts,
    }
