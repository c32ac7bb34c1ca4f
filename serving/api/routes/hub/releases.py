"""`/v1/hub/releases`: a model gets a share of a managed alias's requests, until it is promoted or rolled back."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.hub.servable import require_adapter, require_same_base
from serving.api.paging import page_query, page_response, text_query
from serving.api.services import Services
from serving.config import Alias
from serving.core.principal import STACK
from serving.hub.canary import evidence, tallies_of
from serving.hub.live import live_adapter
from serving.hub.release_keeper import ended
from serving.hub.releases import Change, Release
from serving.hub.versions import Version
from serving.inference.exchange import Exchange
from serving.protocol.errors import conflict, forbidden, invalid, not_found
from serving.protocol.releases import ReleaseChange, ReleaseRequest
from serving.store.errors import NotFound


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Begins a release: the target gets its share of the alias's requests within two seconds."""
    body = await read_json(request, ReleaseRequest, s.limits)
    managed = _alias(s, x, body.alias).managed
    if managed is None:
        raise invalid("The alias has fixed targets: the configuration must make it managed.", "alias")
    if managed.pin is not None:
        raise conflict("The configuration pins the model of this alias.")
    router = s.catalog.current.router
    version = await _version(s, x, body.version) if body.version is not None else None
    target = live_adapter(version).name if version is not None else str(body.target)
    known = router.releasable(target if version is None else version.base, body.alias)
    # Assistants ask an alias's targets on behalf of those who may not call them, such as other tenants' versions.
    allowed = version is not None or x.caller.tenant == STACK or router.resolve(target, x.caller) is not None
    if not (known and allowed):
        raise not_found("model of the same task", "target" if version is None else "version")
    share = body.share if body.share is not None else managed.max_canary
    if share > managed.max_canary:
        raise invalid(f"The configuration allows at most {managed.max_canary:g}.", "share")
    compared_with = await _passed(s, x, body.evaluation, target) if body.evaluation is not None else None

    async def make() -> Release:
        made = await s.hub.releases.create(
            x.caller,
            body.alias,
            target,
            managed=managed,
            share=share,
            evaluation=body.evaluation,
            version=version.id if version is not None else None,
            usable=lambda model: router.releasable(model, body.alias),
        )
        if body.evaluation is not None and compared_with not in (body.alias, made.base):
            raise conflict(f"This evaluation compares with a model other than {made.base}, which answers now.")
        if version is not None:
            await s.hub.versions.serve(version, s.live_models.bounds)
        await x.record(made.id)
        return made

    release = await s.database.atomically(make)
    await s.follow_adapters()
    await s.hub.load_releases()
    return JsonResponse(_render(release))


async def _version(s: Services, x: Exchange, id: str) -> Version:
    try:
        version = await s.registry.versions.get(x.caller, id)
    except NotFound:
        raise not_found("version", "version") from None
    require_adapter(version)
    await require_same_base(s, x, version)
    return version


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's releases, the newest first, optionally those of one alias."""
    alias = text_query(request, "alias", 128)
    return page_response(await s.hub.releases.list(x.caller, alias=alias, **page_query(request)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a release, with what was counted so far."""
    return JsonResponse(_render(await s.hub.releases.get(x.caller, request.path_params["release_id"])))


async def _change(change: Change, s: Services, request: Request, x: Exchange) -> Response:
    body = await read_json(request, ReleaseChange, s.limits)
    release = await s.hub.releases.get(x.caller, request.path_params["release_id"])
    _alias(s, x, release.alias)

    async def make() -> Release:
        made = await s.hub.releases.change(x.caller, release.id, change, revision=body.revision)
        await x.record(made.id)
        return made

    changed = await s.database.atomically(make)
    ended(changed, change, "requested")
    await s.hub.load_releases()
    return JsonResponse(_render(changed))


async def pause(s: Services, request: Request, x: Exchange) -> Response:
    """Sends the target no requests any more; the release can be resumed."""
    return await _change("pause", s, request, x)


async def resume(s: Services, request: Request, x: Exchange) -> Response:
    """Sends the target its share again."""
    return await _change("resume", s, request, x)


async def promote(s: Services, request: Request, x: Exchange) -> Response:
    """Sends the target all requests of the alias."""
    return await _change("promote", s, request, x)


async def rollback(s: Services, request: Request, x: Exchange) -> Response:
    """Sends the base all requests again, also after a promotion."""
    return await _change("rollback", s, request, x)


async def _passed(s: Services, x: Exchange, id: str, target: str) -> str | None:
    """Returns with what an evaluation compared the target. Raises `ApiError` unless it passed the gate."""
    try:
        evaluation = await s.hub.evaluations.get(x.caller, id)
    except NotFound:
        raise not_found("evaluation", "evaluation") from None
    if evaluation.model != target:
        raise invalid("This evaluation is of another model.", "evaluation")
    gate = (evaluation.card or {}).get("gate")
    if gate is None or not gate["passed"]:
        raise conflict("This evaluation has not passed the gate; its card says why.")
    return evaluation.against


def _alias(s: Services, x: Exchange, name: str) -> Alias:
    """Returns an alias for which the caller may release. Raises a 404, and a 403 if other tenants call it too."""
    alias = s.catalog.current.router.alias(name, x.caller)
    if alias is None:
        raise not_found("alias", "alias")
    tenants = alias.access.tenants if alias.access is not None else None
    if x.caller.tenant != STACK and tenants != (x.caller.tenant,):
        raise forbidden(
            "not_owner", "Other tenants call this alias too: only the stack's own tenant may release for it."
        )
    return alias


def _render(release: Release) -> dict[str, Any]:
    tallies = tallies_of(release.tallies)
    return {
        "id": release.id,
        "object": "hub.release",
        "created_at": int(release.created_at),
        "ended_at": int(release.ended_at) if release.ended_at is not None else None,
        "alias": release.alias,
        "target": release.target,
        "version": release.version,
        "base": release.base,
        "share": release.share,
        "evaluation": release.evaluation,
        "status": release.status,
        "reason": release.reason or None,
        "revision": release.revision,
        "outcomes": {
            kind: {
                "pairs": {"canary": tally.pairs.canary, "base": tally.pairs.base, "alike": tally.pairs.alike},
                "canary": {"seen": tally.canary.seen, "bad": dict(tally.canary.bad)},
                "base": {"seen": tally.base.seen, "bad": dict(tally.base.bad)},
            }
            for kind, tally in tallies.items()
        },
        "evidence": {name: round(value, 4) for name, value in evidence(tallies).items()},
    }
