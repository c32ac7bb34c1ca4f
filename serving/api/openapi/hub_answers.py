"""JSON Schemas of the model hub's answers for the OpenAPI document."""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.schemas import COUNT, MAYBE, TEXT, Schema, object_of, page_of
from serving.hub.canary import KINDS
from serving.hub.evaluations import EvaluationStatus
from serving.hub.releases import ReleaseStatus

_NUMBER: Schema = {"type": "number"}
_MAYBE_COUNT: Schema = {"type": ["integer", "null"]}

_SIDE = object_of(None, seen=COUNT, bad={"type": "object", "additionalProperties": COUNT})
_TALLY = object_of(None, pairs=object_of(None, canary=COUNT, base=COUNT, alike=COUNT), canary=_SIDE, base=_SIDE)

_RELEASE = object_of(
    "hub.release",
    id=TEXT,
    created_at=COUNT,
    ended_at=_MAYBE_COUNT,
    alias=TEXT,
    target=TEXT,
    version=MAYBE,
    base=TEXT,
    share=_NUMBER,
    evaluation=MAYBE,
    gate_override={"anyOf": [object_of(None, reason=TEXT), {"type": "null"}]},
    status={"enum": list(get_args(ReleaseStatus))},
    reason=MAYBE,
    revision=COUNT,
    outcomes={"type": "object", "properties": dict.fromkeys(KINDS, _TALLY), "additionalProperties": False},
    evidence=object_of(None, harm=_NUMBER, no_worse=_NUMBER),
)

_SUITE_FIELDS: dict[str, Schema] = {"id": TEXT, "created_at": COUNT, "name": TEXT, "digest": TEXT, "prompts": COUNT}
_SUITE = object_of("hub.suite", **_SUITE_FIELDS)
_EVALUATION = object_of(
    "hub.evaluation",
    id=TEXT,
    created_at=COUNT,
    ended_at=_MAYBE_COUNT,
    suite=TEXT,
    model=TEXT,
    against=MAYBE,
    version=MAYBE,
    status={"enum": list(get_args(EvaluationStatus))},
    done=COUNT,
    error=MAYBE,
    card={"type": ["object", "null"]},
)

HUB_ANSWERS: dict[str, Schema] = {
    **dict.fromkeys(
        (f"hub_releases_{name}" for name in ("create", "get", "promote", "pause", "resume", "rollback")), _RELEASE
    ),
    "hub_releases_list_page": page_of(_RELEASE),
    "hub_suites_create": _SUITE,
    "hub_suites_get": object_of("hub.suite", **_SUITE_FIELDS, suite={"type": "object"}),
    "hub_suites_list_page": page_of(_SUITE),
    **{f"hub_evaluations_{name}": _EVALUATION for name in ("create", "get", "cancel")},
    "hub_evaluations_list_page": page_of(_EVALUATION),
}
