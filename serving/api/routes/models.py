"""`GET /v1/models`: assistants, aliases and models, each usable as `model`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.engines.router import ListedModel
from serving.inference.exchange import Exchange
from serving.protocol.errors import no_model


async def list_all(s: Services, request: Request, x: Exchange) -> Response:
    """Lists what the caller can ask."""
    return JsonResponse({"object": "list", "data": [_model(s, m) for m in _entries(s, x)]})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns one entry of the list."""
    name = request.path_params["model"]
    for entry in _entries(s, x):
        if entry.id == name:
            return JsonResponse(_model(s, entry))
    raise no_model()


def _entries(s: Services, x: Exchange) -> list[ListedModel]:
    return [
        *s.catalog.current.router.listed_for(x.caller),
        ListedModel(s.retrieval.embedder, "embedder", "sentence embeddings"),
    ]


def _model(s: Services, entry: ListedModel) -> dict[str, Any]:
    return {
        "id": entry.id,
        "object": "model",
        "created": s.configured_at,
        "owned_by": "headrace",
        "headrace": {"kind": entry.kind, "description": entry.description},
    }
