"""`/v1/admin/models` and `/v1/admin/aliases`: what the configuration has, and what answers now.

The platform sees all of it. Others see what they may call: for them, the rest does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.paging import page_query, page_response
from serving.api.services import Services
from serving.config import Alias, AnsweringModel, HostedModel, Price, RayServeModel, RemoteModel, Target
from serving.config.serve_document import model_application
from serving.core.principal import Principal
from serving.engines.ready_replicas import Counts
from serving.engines.router import ModelRouter
from serving.hub.releases import Release
from serving.inference.exchange import Exchange
from serving.store.relational.rows import part

MAX_PAGE = 100


async def list_models(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the models with their engine, replicas, adapters, price and aliases, in the order of their names."""
    caller, router = await _viewer(s, request, x), s.catalog.current.router
    called: dict[str, list[str]] = {}
    for alias, targets in router.aliases(caller):
        for target in targets:
            called.setdefault(target.model, []).append(alias.name)
    counts = await s.replicas.counts()
    found = [_model(router, model, caller, called, counts) for model in router.models(caller)]
    return _page(request, found)


async def list_aliases(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the aliases with their current targets and releases, in the order of their names."""
    caller, router = await _viewer(s, request, x), s.catalog.current.router
    aliases = router.aliases(caller)
    managed = [alias.name for alias, _ in aliases if alias.managed is not None]
    running, _ = await s.hub.releases.live(managed) if managed else ([], {})
    theirs = {each.alias: each for each in running if caller is None or each.tenant == caller.tenant}
    return _page(request, [_alias(router, *each, theirs.get(each[0].name)) for each in aliases])


async def _viewer(s: Services, request: Request, x: Exchange) -> Principal | None:
    """Returns whose models are shown, None for those of everybody: the platform's view unless it names a tenant."""
    if "platform" in x.caller.scopes and "tenant" not in request.query_params:
        return None
    return await acting(s, request, x)


def _page(request: Request, found: Sequence[dict[str, Any]]) -> Response:
    query = page_query(request, longest_id=256)
    ordered = sorted(found, key=lambda each: str(each["id"]))
    return page_response(
        part(ordered, after=query["after"], limit=query["limit"], max_limit=MAX_PAGE, order="asc"), dict
    )


def _model(
    router: ModelRouter,
    model: AnsweringModel,
    caller: Principal | None,
    called: dict[str, list[str]],
    counts: Counts | None,
) -> dict[str, Any]:
    adapters = router.adapters(model.name, caller)
    names = {alias for name in (model.name, *(name for name, _ in adapters)) for alias in called.get(name, ())}
    return {
        "id": model.name,
        "object": "admin.model",
        "engine": model.engine,
        "task": model.task,
        "context": _context(model),
        "adapters": [{"id": name, "live": live} for name, live in sorted(adapters)],
        "aliases": sorted(names),
        "price": _price(model.price),
        "replicas": _replicas(model, counts) if isinstance(model, RayServeModel) else None,
    }


def _context(model: AnsweringModel) -> int | None:
    if isinstance(model, RayServeModel):
        return model.request_context
    return model.context if isinstance(model, RemoteModel) else None


def _price(price: Price | None) -> dict[str, str | None] | None:
    """Returns a price as decimal texts, which are exact."""
    if price is None:
        return None
    amounts = {name: getattr(price, name) for name in ("input", "output", "cached_input", "per_hour")}
    texts = {name: str(amount) if amount is not None else None for name, amount in amounts.items()}
    return {"currency": price.currency, **texts}


def _replicas(model: HostedModel, counts: Counts | None) -> dict[str, int | None]:
    bounds = model.autoscaling
    return {
        "wanted": bounds.min_replicas if bounds is not None else model.replicas,
        "most": bounds.max_replicas if bounds is not None else model.replicas,
        "ready": counts.get(model_application(model.name), 0) if counts is not None else None,
    }


def _alias(router: ModelRouter, alias: Alias, targets: Sequence[Target], release: Release | None) -> dict[str, Any]:
    total = sum(target.weight for target in targets)
    return {
        "id": alias.name,
        "object": "admin.alias",
        "managed": alias.managed is not None,
        "pinned": alias.managed is not None and alias.managed.pin is not None,
        "targets": [
            {
                "model": target.model,
                "adapts": router.adapted(target.model),
                "weight": target.weight,
                "share": target.weight / total,
            }
            for target in targets
        ],
        "release": _release(release) if release is not None else None,
    }


def _release(release: Release) -> dict[str, Any]:
    return {
        "id": release.id,
        "status": release.status,
        "target": release.target,
        "base": release.base,
        "share": release.share,
        "created_at": int(release.created_at),
    }
