"""The gate of releases: a version of the hub needs an evaluation that it passed against what the alias serves now."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from serving.api.services import Services
from serving.config import GateLimits, LlamaCppModel, Managed, VllmModel
from serving.core.ids import now
from serving.hub.bases import BaseUnreadable
from serving.hub.evaluations import Evaluation
from serving.hub.release_keeper import HOUR_S
from serving.inference.exchange import Exchange
from serving.protocol.errors import ApiError, conflict, invalid, not_found
from serving.protocol.suites import GateBounds
from serving.store.errors import NotFound
from serving.store.objects.live_adapters import LiveAdapter

_SOURCE = ("engine", "source", "sha256", "url", "model")
"""Fields of a model by which its weights are known if no file with them is on this host."""


@dataclass(frozen=True, slots=True)
class ReleaseTarget:
    """What shall be released. `version` is its version of the hub, of whichever tenant; None for another model."""

    model: str
    base: str
    version: str | None


def live_version(s: Services, model: str) -> tuple[str, LiveAdapter] | None:
    """Returns a live adapter of that model name with the name of its base."""
    return next(((base, each) for base, each in s.live_models.adapters if each.name == model), None)


async def compared_weights(s: Services, model: str, against: str | None) -> dict[str, str | None] | None:
    """Returns what answers for two names when an evaluation of a live version begins; None for other models."""
    if (live := live_version(s, model)) is None:
        return None
    base, adapter = live
    return {
        "model": await _version_weights(s, base, adapter.version),
        "against": await _weights(s, against) if against is not None else None,
    }


async def passed(s: Services, x: Exchange, id: str, target: ReleaseTarget, alias: str, managed: Managed) -> Evaluation:
    """Returns an evaluation of the target that passed the gate. Raises `ApiError`, for a version also if it is too old
    or other weights were evaluated.
    """
    try:
        evaluation = await s.hub.evaluations.get(x.caller, id)
    except NotFound:
        raise not_found("evaluation", "evaluation") from None
    if evaluation.model != target.model:
        raise invalid("This evaluation is of another model.", "evaluation")
    gate = (evaluation.card or {}).get("gate")
    if gate is None or not gate["passed"]:
        if target.version is None:
            raise conflict("This evaluation has not passed the gate; its card says why.")
        raise required(target, alias, "this evaluation has not passed the gate; its card says why")
    if target.version is not None:
        if now() > (evaluation.ended_at or 0) + managed.max_evaluation_hours * HOUR_S:
            hours = f"{managed.max_evaluation_hours:g}"
            raise required(target, alias, f"this evaluation is older than {hours} hours (managed.max_evaluation_hours)")
        if loose := _looser((await s.hub.suites.get(x.caller, evaluation.suite)).suite.bounds, managed.gate):
            raise required(target, alias, f"its suite is more lenient than managed.gate.{loose} allows")
        mine = await _version_weights(s, target.base, target.version)
        if evaluation.weights is None or evaluation.weights["model"] != mine:
            raise required(target, alias, "this evaluation is of other weights")
    return evaluation


async def require_compared(
    s: Services, evaluation: Evaluation, target: ReleaseTarget, alias: str, base: str, serves: str | None
) -> None:
    """Raises a 409 unless an evaluation compared the target with `base`, which answers for the alias now; `serves` are
    the weights of that.
    """
    if evaluation.against not in (alias, base):
        if target.version is not None:
            raise required(target, alias, f"this evaluation compares with a model other than {base}", base)
        raise conflict(f"This evaluation compares with a model other than {base}, which answers now.")
    if target.version is None:
        return
    compared = evaluation.weights["against"] if evaluation.weights is not None else None
    if compared is None or compared != serves:
        raise required(target, alias, f"{alias} has served other weights since this evaluation began", base)
    if evaluation.against == alias and await s.hub.releases.changed_between(
        alias, evaluation.created_at, evaluation.ended_at or now()
    ):
        raise required(target, alias, f"during this evaluation more than one model answered for {alias}", base)


async def base_weights(s: Services, base: str) -> str | None:
    """Returns a digest of the weights that answer for a target of an alias."""
    if (live := live_version(s, base)) is not None:
        return await _version_weights(s, live[0], live[1].version)
    return await _model_weights(s, base)


def required(target: ReleaseTarget, alias: str, reason: str, base: str | None = None) -> ApiError:
    """Returns the error for a version that has not passed the gate, with the command that is needed."""
    against = base or alias
    return ApiError(
        "gate_required",
        f"The gate is needed to release this version, but {reason}. Run `headrace hub evaluations start SUITE "
        f"{target.model} --against {against}`, and release with its id as --evaluation; or say why not by "
        "--gate-override.",
        param="evaluation",
    )


def _looser(bounds: GateBounds, limits: GateLimits) -> str | None:
    """Returns the name of a bound that is more lenient than the configuration allows."""
    loose = {
        "min_win_rate": bounds.min_win_rate < limits.min_win_rate,
        "max_worse": bounds.max_worse > limits.max_worse,
        "max_length_ratio": bounds.max_length_ratio > limits.max_length_ratio,
    }
    return next((name for name, found in loose.items() if found), None)


async def _weights(s: Services, name: str) -> str | None:
    """Returns a digest of the weights that answer for a name; None if that is not one model."""
    targets = s.catalog.current.router.targets(name)
    return await base_weights(s, targets[0].model) if len(targets) == 1 else None


async def _version_weights(s: Services, base: str, version: str) -> str:
    return _digest("version", version, await _model_weights(s, base))


async def _model_weights(s: Services, name: str) -> str | None:
    model = s.catalog.current.router.configured(name)
    if model is None:
        return None
    digest = ""
    if isinstance(model, LlamaCppModel | VllmModel):
        try:
            digest = (await s.registry.bases.facts(model)).digest
        except BaseUnreadable:  # its weights are where its replicas are
            digest = ""
    known = digest or [str(getattr(model, field, None)) for field in _SOURCE]
    adapter = next((each.source for each in getattr(model, "loras", ()) if each.name == name), None)
    return _digest("model", known, adapter)


def _digest(*parts: object) -> str:
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()
