"""`/healthz` tells that this process answers, `/readyz` that requests can be served."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.inference.exchange import Exchange


async def alive(s: Services, request: Request, x: Exchange) -> Response:
    """Returns 200 while the process runs."""
    return JsonResponse({"status": "ok"})


async def ready(s: Services, request: Request, x: Exchange) -> Response:
    """Returns 200 when the store, retrieval and the catalogue are available, else 503 with what is missing."""
    checks = await s.readiness()
    status = 200 if all(checks.values()) else 503
    return JsonResponse({"status": "ok" if status == 200 else "unavailable", "checks": checks}, status_code=status)


async def openapi(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the OpenAPI document of this API."""
    return JsonResponse(request.app.document())
