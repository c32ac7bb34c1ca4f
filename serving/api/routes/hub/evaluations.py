"""`/v1/hub/evaluations`: scores a model on a suite in the background."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.hub.gate import compared_weights
from serving.api.paging import page_query, page_response
from serving.api.scopes import require
from serving.api.services import Services
from serving.hub.evaluations import Evaluation
from serving.hub.live import live_name
from serving.hub.versions import Version
from serving.inference.exchange import Exchange
from serving.protocol.errors import conflict, invalid, not_found
from serving.protocol.evaluations import EvaluationRequest
from serving.protocol.suites import ChecksJudge
from serving.security.absent_callers import note
from serving.store.errors import NotFound


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Starts an evaluation, which asks models on the caller's behalf."""
    body = await read_json(request, EvaluationRequest, s.limits)
    require("inference", x.caller)
    try:
        suite = (await s.hub.suites.get(x.caller, body.suite)).suite
    except NotFound:
        raise not_found("suite", "suite") from None
    judge = suite.judge.model if not isinstance(suite.judge, ChecksJudge) else None
    for field, name in (("model", body.model), ("against", body.against), ("suite", judge)):
        if name is not None and not await _callable(s, x, name):
            raise not_found("model", field)
    version = await _version(s, x, body)
    made = await s.hub.evaluations.create(
        x.caller,
        body.suite,
        body.model,
        against=body.against,
        version=version,
        caller=note(x.caller),
        weights=await compared_weights(s, body.model, body.against),
    )
    return JsonResponse(_render(made))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the tenant's evaluations, the newest first."""
    return page_response(await s.hub.evaluations.list(x.caller, **page_query(request)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns an evaluation, with its card once it is completed."""
    return JsonResponse(_render(await s.hub.evaluations.get(x.caller, request.path_params["evaluation_id"])))


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Cancels an evaluation."""
    id = request.path_params["evaluation_id"]
    if (await s.hub.evaluations.get(x.caller, id)).status == "cancelled":
        x.unchanged()
    return JsonResponse(_render(await s.hub.evaluations.cancel(x.caller, id)))


async def _callable(s: Services, x: Exchange, name: str) -> bool:
    router = s.catalog.current.router
    return (router.resolve(name, x.caller) or await s.assistants.route(router, name, x.caller)) is not None


async def _version(s: Services, x: Exchange, body: EvaluationRequest) -> str | None:
    """Returns the id of the version that the model serves: the card becomes its own, so that it must not be measured
    by another model. A version that is live is known by its model name.
    """
    live = next((each.version for _, each in s.live_models.adapters if each.name == body.model), None)
    try:
        if body.version is None:
            return (await s.registry.versions.get(x.caller, live)).id if live is not None else None
        version = await s.registry.versions.get(x.caller, body.version)
    except NotFound:
        if body.version is None:  # another tenant's, which this one may call
            return None
        raise not_found("version", "version") from None
    if version.status != "ready":
        raise conflict(f"The version is {version.status}.")
    if version.kind == "adapter" and version.id != live:
        name = live_name(version.tenant, version.name, version.number)
        raise invalid(f"This version is an adapter, and the model is not: serve it, and evaluate {name}.", "version")
    if version.kind != "adapter" and (live is not None or _serves_others(s, x, body.model, version)):
        raise invalid("The model serves other weights than this version's.", "version")
    return version.id


def _serves_others(s: Services, x: Exchange, name: str, version: Version) -> bool:
    """Returns whether the configuration names the digest of a model's weights, and the version has none of it."""
    digest = getattr(s.catalog.current.router.model(name, x.caller), "sha256", None)
    return digest is not None and all(each.sha256 != digest for each in version.artefacts)


def _render(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "id": evaluation.id,
        "object": "hub.evaluation",
        "created_at": int(evaluation.created_at),
        "ended_at": int(evaluation.ended_at) if evaluation.ended_at is not None else None,
        "suite": evaluation.suite,
        "model": evaluation.model,
        "against": evaluation.against,
        "version": evaluation.version,
        "status": evaluation.status,
        "done": evaluation.done,
        "error": evaluation.error,
        "card": evaluation.card,
    }
