"""`GET /v1/models`: assistants, aliases and models, each usable as `model`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.services import Services
from serving.assistants.reader import quotes
from serving.assistants.register import MAX_PAGE, OwnAssistant, settings_of
from serving.engines.router import ListedModel, Route
from serving.inference.exchange import Exchange
from serving.protocol.errors import no_model


async def list_all(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the models that the caller can use."""
    listed = [_model(s, entry, x) for entry in _entries(s, x)]
    names = {entry["id"] for entry in listed}
    listed += [_own(one, route) for one, route in await _callable(s, x) if one.name not in names]
    return JsonResponse({"object": "list", "data": listed})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns one entry of the list."""
    name = request.path_params["model"]
    for entry in _entries(s, x):
        if entry.id == name:
            return JsonResponse(_model(s, entry, x))
    found = await s.assistants.callable_by(x.caller, name) if x.caller.confirmed else None
    route = found.route(s.catalog.current.router, name, x.caller) if found is not None else None
    if found is None or route is None:
        raise no_model(name)
    return JsonResponse(_own(found, route))


def _entries(s: Services, x: Exchange) -> list[ListedModel]:
    return [
        *s.catalog.current.router.listed_for(x.caller),
        *(ListedModel(name, "embedder", "sentence embeddings", "embed") for name in s.retrieval.local),
    ]


async def _callable(s: Services, x: Exchange) -> list[tuple[OwnAssistant, Route]]:
    """Returns the newest of the tenant's own assistants that the caller may call, at most a page, and their routes."""
    if not x.caller.confirmed:
        return []  # a user's private ones are content, which this key does not read yet
    own = (await s.assistants.list(x.caller, limit=MAX_PAGE)).items
    routed = ((one, one.route(s.catalog.current.router, one.name, x.caller)) for one in own)
    return [(one, route) for one, route in routed if route is not None]


def _own(assistant: OwnAssistant, route: Route) -> dict[str, Any]:
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
            **({"quotes": True} if quotes(route) else {}),
            **({"starters": settings.starters} if settings.starters else {}),
        },
    }


def _model(s: Services, entry: ListedModel, x: Exchange) -> dict[str, Any]:
    route = s.catalog.current.router.resolve(entry.id, x.caller) if entry.task == "chat" else None
    return {
        "id": entry.id,
        "object": "model",
        "created": s.configured_at,
        "owned_by": "headrace",
        "headrace": {
            "kind": entry.kind,
            "task": entry.task,
            "description": entry.description,
            **({"quotes": True} if route is not None and quotes(route) else {}),
            **({"starters": entry.starters} if entry.starters else {}),
        },
    }
