"""JSON Schemas of the answers about versions of models and adapters for the OpenAPI document."""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.schemas import COUNT, MAYBE, TEXT, Schema, list_of, object_of, page_of
from serving.hub.consents import ConsentScope
from serving.hub.names import Kind, Method, VersionStatus

_MAYBE_COUNT: Schema = {"type": ["integer", "null"]}
_DOCUMENT: Schema = {"type": "object"}

_VERSION = object_of(
    "hub.version",
    id=TEXT,
    name=TEXT,
    number=COUNT,
    kind={"enum": list(get_args(Kind))},
    status={"enum": list(get_args(VersionStatus))},
    reason=MAYBE,
    base=TEXT,
    base_digest=TEXT,
    method={"enum": list(get_args(Method))},
    rank=_MAYBE_COUNT,
    artefacts=list_of(object_of(None, name=TEXT, bytes=COUNT, sha256=TEXT)),
    bytes=COUNT,
    recipe=_DOCUMENT,
    dataset=MAYBE,
    parents=list_of(TEXT),
    provenance=_DOCUMENT,
    card={"type": ["object", "null"]},
    job=MAYBE,
    created_at=COUNT,
    created_by=MAYBE,
    ready_at=_MAYBE_COUNT,
    retired_at=_MAYBE_COUNT,
    deleted_at=_MAYBE_COUNT,
)

_DATASET = object_of(
    "hub.dataset",
    id=TEXT,
    format=TEXT,
    status=TEXT,
    digest=TEXT,
    counts=_DOCUMENT,
    created_at=COUNT,
)

_LIVE = object_of(
    "hub.live",
    version=TEXT,
    model=TEXT,
    base=TEXT,
    live={"type": "boolean"},
    replicas=COUNT,
    loaded=COUNT,
    leaving=COUNT,
    failures=list_of(TEXT),
)

_CONSENT = object_of(
    "hub.consent",
    version=TEXT,
    tenant=TEXT,
    scope={"enum": list(get_args(ConsentScope))},
    created_at=COUNT,
    created_by=MAYBE,
    revoked_at=_MAYBE_COUNT,
)

VERSION_ANSWERS: dict[str, Schema] = {
    **{f"hub_live_{name}": _LIVE for name in ("get", "serve", "withdraw")},
    **{f"hub_versions_{name}": _VERSION for name in ("create", "get", "retire")},
    **{f"hub_consents_{name}": _CONSENT for name in ("create", "revoke")},
    "hub_consents_list_all": object_of("list", data=list_of(_CONSENT)),
    "hub_versions_list_page": page_of(_VERSION),
    "hub_versions_lineage": object_of(
        "hub.lineage",
        version=_VERSION,
        ancestors=list_of(_VERSION),
        descendants=list_of(_VERSION),
        datasets=list_of(_DATASET),
    ),
}
