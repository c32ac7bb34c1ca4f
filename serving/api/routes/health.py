"""`/healthz`: this process answers. `/readyz`: what a request needs is there."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.inference.exchange import Exchange


async def alive(s: Services, request: Request, x: Exchange) -> Response:
    """Answers while the process lives."""
    return JsonResponse({"status": "ok"})


async def ready(s: Services, request: Request, x: Exchange) -> Response:
    """Answers 200 when the store, retrieval and the catalogue are there, else 503 with what is missing."""
    checks = await s.readiness()
    status = 200 if all(checks.values()) else 503
    return JsonResponse({"status": "ok" if status == 200 else "unavailable", "checks": checks}, status_code=status)


async def openapi(s: Services, request: Request, x: Exchange) -> Response:
    """The OpenAPI document of this API."""
    return JsonResponse(request.app.document())
