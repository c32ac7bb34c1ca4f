"""`/v1/hub/releases`: a model gets a share of a managed alias's requests, until it is promoted or rolled back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.hub.gate import ReleaseTarget, base_weights, live_version, passed, require_compared, required
from serving.api.hub.servable import require_adapter, require_same_base
from serving.api.paging import page_query, page_response, text_query
from serving.api.services import Services
from serving.config import Alias, Managed
from serving.core.ids import now
from serving.core.principal import STACK
from serving.hub.canary import evidence, tallies_of
from serving.hub.live import live_adapter
from serving.hub.release_keeper import ended
from serving.hub.releases import Change, Release
from serving.hub.versions import Version
from serving.inference.exchange import Exchange
from serving.protocol.errors import conflict, forbidden, invalid, not_found
from serving.protocol.releases import Promotion, ReleaseChange, ReleaseRequest
from serving.store.errors import NotFound


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Begins a release: the target gets its share of the alias's requests within two seconds."""
    body = await read_json(request, ReleaseRequest, s.limits)
    managed = _alias(s, x, body.alias).managed
    if managed is None:
        raise invalid("The alias has fixed targets: the configuration must make it managed.", "alias")
    if managed.pin is not None:
        raise conflict("The configuration pins the model of this alias.")
    version, target = await _target(s, x, body)
    share = body.share if body.share is not None else managed.max_canary
    if share > managed.max_canary:
        raise invalid(f"The configuration allows at most {managed.max_canary:g}.", "share")
    base = await _gated(s, x, body, target, managed)
    override = body.gate_override.reason if body.gate_override is not None else None

    async def make() -> Release:
        made = await s.hub.releases.create(
            x.caller,
            body.alias,
            target.model,
            managed=managed,
            share=share,
            evaluation=body.evaluation,
            gate_override=override,
            version=version.id if version is not None else None,
            usable=_usable(s, body.alias),
        )
        if made.base != base:
            raise conflict(f"Another model answers for {body.alias} since this request began.")
        if version is not None:
            await s.hub.versions.serve(version, s.live_models.bounds)
        await _record(s, x, made, override)
        return made

    release = await s.database.atomically(make)
    await s.follow_adapters()
    await s.hub.load_releases()
    return JsonResponse(_render(release))


async def _target(s: Services, x: Exchange, body: ReleaseRequest) -> tuple[Version | None, ReleaseTarget]:
    """Returns what shall be released, and the tenant's version if it is one."""
    router, version = s.catalog.current.router, None
    live = live_version(s, body.target) if body.target is not None else None
    if body.version is not None:
        version = await _version(s, x, body.version)
    elif live is not None:
        with suppress(NotFound):  # another tenant's
            version = await s.registry.versions.get(x.caller, live[1].version)
    if version is not None:
        await require_same_base(s, x, version)
        target = ReleaseTarget(live_adapter(version).name, version.base, version.id)
    elif live is not None:
        target = ReleaseTarget(live[1].name, live[0], live[1].version)
    else:
        target = ReleaseTarget(str(body.target), str(body.target), None)
    # Assistants ask an alias's targets on behalf of those who may not call them, such as other tenants' versions.
    own = version is not None or x.caller.tenant == STACK or router.resolve(target.model, x.caller) is not None
    if not (router.releasable(target.base, body.alias) and own):
        raise not_found("model of the same task", "target" if body.version is None else "version")
    if live is not None and version is None and x.caller.tenant != STACK:
        await _require_consent(s, x, live[1].version)
    return version, target


async def _require_consent(s: Services, x: Exchange, version: str) -> None:
    """Raises a 403 unless the tenant of a version lets the caller's tenant release it."""
    if await s.registry.consents.scope(version, x.caller.tenant) != "release":
        raise forbidden("not_owner", "This version's tenant lets yours call it, and not release it.", "target")


async def _version(s: Services, x: Exchange, id: str) -> Version:
    try:
        version = await s.registry.versions.get(x.caller, id)
    except NotFound:
        raise not_found("version", "version") from None
    require_adapter(version)
    return version


async def _gated(s: Services, x: Exchange, body: ReleaseRequest, target: ReleaseTarget, managed: Managed) -> str:
    """Returns the model that answers for the alias, once the gate lets the target replace it. Raises `ApiError`."""
    base = await s.hub.releases.base(body.alias, managed, _usable(s, body.alias))
    if body.evaluation is not None:
        evaluation = await passed(s, x, body.evaluation, target, body.alias, managed)
        await require_compared(s, evaluation, target, body.alias, base, await base_weights(s, base))
    elif body.gate_override is not None and target.version is None:
        raise invalid("Only versions of the model hub need the gate: leave this out.", "gate_override")
    elif body.gate_override is None and target.version is not None:
        raise required(target, body.alias, "no evaluation is named", base)
    return base


def _usable(s: Services, alias: str) -> Callable[[str], bool]:
    router = s.catalog.current.router
    return lambda model: router.releasable(model, alias)


async def _record(s: Services, x: Exchange, release: Release, override: str | None) -> None:
    """Records a change, and why it did without the gate also on the card of the tenant's version."""
    await x.record(release.id, {"gate_override": override} if override is not None else None)
    if override is not None and release.version is not None:
        noted = {"release": release.id, "alias": release.alias, "reason": override, "at": int(now())}
        await s.registry.versions.note_override(x.caller, release.version, noted)


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's releases, the newest first, optionally those of one alias."""
    alias = text_query(request, "alias", 128)
    return page_response(await s.hub.releases.list(x.caller, alias=alias, **page_query(request)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a release, with what was counted so far."""
    return JsonResponse(_render(await s.hub.releases.get(x.caller, request.path_params["release_id"])))


async def _change(change: Change, s: Services, request: Request, x: Exchange) -> Response:
    return await _changed(change, s, request, x, await read_json(request, ReleaseChange, s.limits))


async def _changed(
    change: Change, s: Services, request: Request, x: Exchange, body: ReleaseChange, override: str | None = None
) -> Response:
    release = await s.hub.releases.get(x.caller, request.path_params["release_id"])
    alias = _alias(s, x, release.alias)
    if change == "promote":
        _require_gated(release, override)
        if release.gated and release.version is not None and alias.managed is not None:
            base = await s.hub.releases.base(release.alias, alias.managed, _usable(s, release.alias))
            if base != release.base:
                raise conflict(f"The evaluation compares with {release.base}, and {base} answers now: release again.")

    async def make() -> Release:
        made = await s.hub.releases.change(x.caller, release.id, change, revision=body.revision, gate_override=override)
        await _record(s, x, made, override)
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
    body = await read_json(request, Promotion, s.limits)
    override = body.gate_override.reason if body.gate_override is not None else None
    return await _changed("promote", s, request, x, body, override)


async def rollback(s: Services, request: Request, x: Exchange) -> Response:
    """Sends the base all requests again, also after a promotion."""
    return await _change("rollback", s, request, x)


def _require_gated(release: Release, override: str | None) -> None:
    """Raises a 409 for a version whose release began without the gate, and a 400 for an override that has no effect."""
    if override is None and not release.gated:
        target = ReleaseTarget(release.target, release.base, release.version)
        raise required(target, release.alias, "its release began without an evaluation", release.base)
    if override is not None and release.gated:
        raise invalid("This release needs no override of the gate.", "gate_override")


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
        "gate_override": {"reason": release.gate_override} if release.gate_override is not None else None,
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
