"""JSON Schemas of the answers that only an admin console asks for."""

from __future__ import annotations

from typing import get_args

from serving.api.openapi.schemas import COUNT, MAYBE, TEXT, Schema, list_of, object_of, page_of
from serving.config import Measure, Subject, Task, Window
from serving.hub.releases import ReleaseStatus
from serving.store.captures import Ending
from serving.store.jobs.job import Status
from serving.telemetry.dashboards.board import Colour, PanelKind, Severity
from serving.telemetry.dashboards.filters import RANGES

_MAYBE_COUNT: Schema = {"type": ["integer", "null"], "minimum": 0}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_JOB = object_of(
    "job",
    id=TEXT,
    kind=TEXT,
    subjects=list_of(object_of(None, type=TEXT, id=TEXT, name=MAYBE)),
    status={"enum": list(get_args(Status))},
    attempts=COUNT,
    max_attempts=COUNT,
    cancellable={"type": "boolean"},
    cancel_requested={"type": "boolean"},
    done=COUNT,
    total=COUNT,
    error_code=MAYBE,
    created_at=COUNT,
    started_at=_MAYBE_COUNT,
    finished_at=_MAYBE_COUNT,
)

_CAPTURE: dict[str, Schema] = {
    "id": TEXT,
    "created_at": COUNT,
    "conversation_id": MAYBE,
    "requested": TEXT,
    "assistant": MAYBE,
    "model": TEXT,
    "adapter": MAYBE,
    "outcome": {"enum": list(get_args(Ending))},
    "prompt_tokens": _MAYBE_COUNT,
    "completion_tokens": _MAYBE_COUNT,
    "up": COUNT,
    "down": COUNT,
}

_REQUEST_ANSWER: dict[str, Schema] = {
    **{name: kind for name, kind in _CAPTURE.items() if name not in ("conversation_id", "up", "down")},
    "request_id": TEXT,
    "prompt_version": MAYBE,
    "prompts": list_of(object_of(None, by={"enum": ["assistant", "request"]}, id=TEXT, version=COUNT, sha256=TEXT)),
    "alias": TEXT,
    "engine": MAYBE,
    "stream": {"type": ["boolean", "null"]},
    "finish_reason": MAYBE,
    "error_code": MAYBE,
    "cost": _or_null(object_of(None, amount=TEXT, currency=TEXT)),
    "steps": COUNT,
    "passages": COUNT,
    "seconds": {"type": "number", "minimum": 0},
    "stages": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
    "stored": {"type": "boolean"},
    "consent": {"type": "boolean"},
}

_DASHBOARD: dict[str, Schema] = {"id": TEXT, "title": TEXT, "description": TEXT}
_MAYBE_NUMBER: Schema = {"type": ["number", "null"]}
_COLOUR: Schema = {"enum": list(get_args(Colour))}

_PANEL = object_of(
    None,
    id=TEXT,
    title=TEXT,
    description=TEXT,
    kind={"enum": list(get_args(PanelKind))},
    unit=TEXT,
    base=_COLOUR,
    steps=list_of(object_of(None, value={"type": "number"}, colour=_COLOUR)),
    stacked={"type": "boolean"},
    width={"type": "integer", "minimum": 1, "maximum": 24},
    alerts=list_of(TEXT),
    series=list_of(object_of(None, name=TEXT, values=list_of(_MAYBE_NUMBER))),
    columns=list_of(TEXT),
    rows=list_of(list_of({"type": ["string", "number", "null"]})),
    error=MAYBE,
)

CONSOLE_ANSWERS: dict[str, Schema] = {
    "quotas_list_defaults": object_of(
        "list",
        data=list_of(
            object_of(
                "quota.default",
                subject={"enum": list(get_args(Subject))},
                window={"enum": list(get_args(Window))},
                measure={"enum": list(get_args(Measure))},
                currency=MAYBE,
                limit={"type": ["integer", "string"]},
            )
        ),
        warn_at={"type": "number"},
    ),
    "admin_ratings_summary": page_of(
        object_of("feedback.summary", id=TEXT, ratings=COUNT, up=COUNT, down=COUNT, score={"type": ["number", "null"]})
    ),
    "admin_captures_list_page": page_of(object_of("capture", **_CAPTURE)),
    "admin_captures_get": object_of(
        "capture",
        **_CAPTURE,
        messages=list_of(object_of(None, role=TEXT, content={"type": ["string", "array"]})),
        answer=list_of(object_of(None, content=MAYBE, refusal=MAYBE, tool_calls={"type": "array"})),
        passages=list_of(
            object_of(
                None,
                file_id=TEXT,
                file_name=MAYBE,
                title=MAYBE,
                heading=MAYBE,
                text=MAYBE,
                start=_MAYBE_COUNT,
                end=_MAYBE_COUNT,
                page=_MAYBE_COUNT,
            )
        ),
        ratings=list_of(
            object_of(
                None,
                id=TEXT,
                thumb={"enum": ["up", "down", None]},
                score={"type": ["number", "null"]},
                tags=list_of(TEXT),
                comment=MAYBE,
                correction=MAYBE,
                created_at=COUNT,
            )
        ),
    ),
    "admin_requests_get": object_of(
        "request",
        id=TEXT,
        answers=list_of(object_of("request.answer", **_REQUEST_ANSWER)),
        has_more={"type": "boolean"},
    ),
    "admin_models_list_models": page_of(
        object_of(
            "admin.model",
            id=TEXT,
            engine=TEXT,
            task={"enum": list(get_args(Task))},
            context=_MAYBE_COUNT,
            adapters=list_of(object_of(None, id=TEXT, live={"type": "boolean"})),
            aliases=list_of(TEXT),
            price=_or_null(
                object_of(None, currency=TEXT, input=MAYBE, output=MAYBE, cached_input=MAYBE, per_hour=MAYBE)
            ),
            replicas=_or_null(object_of(None, wanted=COUNT, most=COUNT, ready=_MAYBE_COUNT)),
        )
    ),
    "admin_models_list_aliases": page_of(
        object_of(
            "admin.alias",
            id=TEXT,
            managed={"type": "boolean"},
            pinned={"type": "boolean"},
            targets=list_of(
                object_of(None, model=TEXT, adapts=MAYBE, weight={"type": "number"}, share={"type": "number"})
            ),
            release=_or_null(
                object_of(
                    None,
                    id=TEXT,
                    status={"enum": list(get_args(ReleaseStatus))},
                    target=TEXT,
                    base=TEXT,
                    share={"type": "number"},
                    created_at=COUNT,
                )
            ),
        )
    ),
    "admin_sessions_list_all": page_of(
        object_of(
            "session",
            id=TEXT,
            provider=MAYBE,
            key_id=MAYBE,
            created_at=COUNT,
            last_used_at=COUNT,
            expires_at=COUNT,
        )
    ),
    "admin_sessions_end_all": object_of("sessions.deleted", deleted=COUNT),
    "admin_dashboards_list_all": object_of("list", data=list_of(object_of("dashboard.summary", **_DASHBOARD))),
    "admin_dashboards_get": object_of(
        "dashboard",
        **_DASHBOARD,
        range={"enum": list(RANGES)},
        start=COUNT,
        step=COUNT,
        filters=list_of(object_of(None, name=TEXT, title=TEXT, value=MAYBE, values=list_of(TEXT))),
        rows=list_of(object_of(None, title=TEXT, panels=list_of(_PANEL))),
        alerts=list_of(TEXT),
        rollouts=list_of(object_of(None, at=COUNT, parts=list_of(TEXT))),
    ),
    "admin_dashboards_list_alerts": object_of(
        "list",
        data=list_of(
            object_of(
                "alert.firing",
                id=TEXT,
                severity=TEXT,
                count=COUNT,
                instances=list_of(object_of(None, summary=MAYBE, since=_MAYBE_COUNT)),
                runbook={"type": "boolean"},
            )
        ),
    ),
    "admin_dashboards_get_alert": object_of(
        "alert",
        id=TEXT,
        severity={"enum": list(get_args(Severity))},
        owner=TEXT,
        wait=TEXT,
        summary=TEXT,
        expression=TEXT,
        dashboard=TEXT,
        runbook=TEXT,
    ),
    "admin_jobs_list_page": page_of(_JOB),
    "admin_jobs_cancel": _JOB,
}
