"""`/v1/hub/versions/{version_id}/live`: whether replicas serve a version, and which of them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse
from serving.api.hub.servable import require_adapter, require_same_base
from serving.api.services import Services
from serving.hub.live import live_adapter
from serving.hub.versions import Version
from serving.inference.exchange import Exchange
from serving.protocol.errors import conflict


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns the model name of an adapter, and how many replicas of its base serve it."""
    return JsonResponse(await _state(s, await _adapter(s, request, x)))


async def serve(s: Services, request: Request, x: Exchange) -> Response:
    """Makes an adapter live: all replicas of its base load it, and its tenant can call it by its model name."""
    version = await _adapter(s, request, x)
    bounds = s.live_models.bounds.get(version.base)
    if bounds is None:
        raise conflict(f"The model {version.base} takes no adapters: its configuration needs adapters.")
    await require_same_base(s, x, version)

    async def add() -> None:
        await x.record(version.id)
        await s.live.add(version.base, bounds, live_adapter(version))

    await s.database.atomically(add)
    await s.follow_adapters()
    return JsonResponse(await _state(s, version))


async def withdraw(s: Services, request: Request, x: Exchange) -> Response:
    """Ends serving an adapter: requests in progress are answered, and it is unloaded after the last one."""
    version = await _adapter(s, request, x)
    if version.id in await s.hub.versions.needed():
        raise conflict("A release uses this version: roll the release back first.")

    async def remove() -> None:
        await x.record(version.id)
        await s.live.remove(version.base, [live_adapter(version).name])

    await s.database.atomically(remove)
    await s.follow_adapters()
    return JsonResponse(await _state(s, version))


async def _adapter(s: Services, request: Request, x: Exchange) -> Version:
    version = await s.registry.versions.get(x.caller, request.path_params["version_id"])
    require_adapter(version)
    return version


async def _state(s: Services, version: Version) -> dict[str, Any]:
    name = live_adapter(version).name
    live = await s.live.read(version.base)
    reports = await s.live.reports(version.base)
    return {
        "object": "hub.live",
        "version": version.id,
        "model": name,
        "base": version.base,
        "live": any(each.name == name for each in live.adapters),
        "replicas": len(reports),
        "loaded": sum(name in each.loaded for each in reports),
        "leaving": sum(name in each.leaving for each in reports),
        "failures": sorted({each.failed[name] for each in reports if name in each.failed}),
    }
