"""`GET /v1/models`: assistants, aliases and models, each usable as `model`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.assistants.register import MAX_PAGE, OwnAssistant, settings_of
from serving.engines.router import ListedModel
from serving.inference.exchange import Exchange
from serving.protocol.errors import no_model


async def list_all(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the models that the caller can use."""
    listed = [_model(s, entry) for entry in _entries(s, x)]
    names = {entry["id"] for entry in listed}
    listed += [_own(one) for one in await _callable(s, x) if one.name not in names]
    return JsonResponse({"object": "list", "data": listed})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns one entry of the list."""
    name = request.path_params["model"]
    for entry in _entries(s, x):
        if entry.id == name:
            return JsonResponse(_model(s, entry))
    found = await s.assistants.callable_by(x.caller, name) if x.caller.confirmed else None
    if found is None or found.route(s.catalog.current.router, name, x.caller) is None:
        raise no_model(name)
    return JsonResponse(_own(found))


def _entries(s: Services, x: Exchange) -> list[ListedModel]:
    return [
        *s.catalog.current.router.listed_for(x.caller),
        *(ListedModel(name, "embedder", "sentence embeddings", "embed") for name in s.retrieval.local),
    ]


async def _callable(s: Services, x: Exchange) -> list[OwnAssistant]:
    """Returns the newest of the tenant's own assistants that the caller may call, at most a page."""
    if not x.caller.confirmed:
        return []  # a user's private ones are content, which this key does not read yet
    own = (await s.assistants.list(x.caller, limit=MAX_PAGE)).items
    return [one for one in own if one.route(s.catalog.current.router, one.name, x.caller) is not None]


def _own(assistant: OwnAssistant) -> dict[str, Any]:
    settings = settings_of(assistant.settings)
    return {
        "id": assistant.name,
        "object": "model",
        "created": int(assistant.created_at),
        "owned_by": assistant.tenant,
        "headrace": {
            "kind": "assistant",
            "task": "chat",
            "description": settings.description,
            **({"starters": settings.starters} if settings.starters else {}),
        },
    }


def _model(s: Services, entry: ListedModel) -> dict[str, Any]:
    return {
        "id": entry.id,
        "object": "model",
        "created": s.configured_at,
        "owned_by": "headrace",
        "headrace": {
            "kind": entry.kind,
            "task": entry.task,
            "description": entry.description,
            **({"starters": entry.starters} if entry.starters else {}),
        },
    }
