"""JSON Schemas of the answers of data sets and tuning jobs for the OpenAPI document."""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.schemas import COUNT, MAYBE, TEXT, Schema, list_of, object_of, page_of
from serving.protocol.tuning import Method

_DOCUMENT: Schema = {"type": "object"}
_MAYBE_COUNT: Schema = {"type": ["integer", "null"]}
_ERROR: Schema = {"type": ["object", "null"]}

_DATASET = object_of(
    "hub.dataset",
    id=TEXT,
    format=TEXT,
    status={"enum": ["building", "ready", "retired"]},
    reason=MAYBE,
    digest=MAYBE,
    counts=_DOCUMENT,
    manifest=_DOCUMENT,
    files=list_of(object_of(None, name=TEXT, bytes=COUNT, sha256=TEXT)),
    created_at=COUNT,
    created_by=MAYBE,
    ready_at=_MAYBE_COUNT,
    retired_at=_MAYBE_COUNT,
)

_STATUS: Schema = {"enum": ["queued", "running", "succeeded", "failed", "cancelled"]}

_JOB = object_of(
    "hub.job",
    id=TEXT,
    method={"enum": list(get_args(Method))},
    name=TEXT,
    base=TEXT,
    base_version=MAYBE,
    dataset=MAYBE,
    retain=MAYBE,
    teacher=MAYBE,
    without_rater=MAYBE,
    recipe=_DOCUMENT,
    status=_STATUS,
    stage=TEXT,
    step=COUNT,
    steps=COUNT,
    version=MAYBE,
    error=_ERROR,
    created_at=COUNT,
    created_by=TEXT,
    started_at=_MAYBE_COUNT,
    finished_at=_MAYBE_COUNT,
)

_FRONT = object_of(
    "fine_tuning.job",
    id=TEXT,
    created_at=COUNT,
    finished_at=_MAYBE_COUNT,
    model=TEXT,
    fine_tuned_model=MAYBE,
    status=_STATUS,
    error=_ERROR,
    training_file=TEXT,
    validation_file=MAYBE,
    result_files=list_of(TEXT),
    hyperparameters=_DOCUMENT,
    seed=COUNT,
    trained_tokens=_MAYBE_COUNT,
)

_FRONT_EVENT = object_of(
    "fine_tuning.job.event", id=TEXT, created_at=COUNT, level={"enum": ["info", "error"]}, message=TEXT
)

TUNING_ANSWERS: dict[str, Schema] = {
    **{f"hub_datasets_{name}": _DATASET for name in ("create", "get", "delete")},
    "hub_datasets_list_page": page_of(_DATASET),
    **{f"hub_jobs_{name}": _JOB for name in ("create", "get", "cancel")},
    "hub_jobs_list_page": page_of(_JOB),
    "hub_jobs_events": object_of("list", data=list_of(object_of("hub.job.event", event=TEXT))),
    **{f"fine_tuning_{name}": _FRONT for name in ("create", "get", "cancel")},
    "fine_tuning_list_page": page_of(_FRONT),
    "fine_tuning_list_events": page_of(_FRONT_EVENT),
}
