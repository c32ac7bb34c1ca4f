"""`/v1/feedback`: ratings of answers, messages and conversations."""

from __future__ import annotations

import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import list_query, page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.metering.charge import storage_meter
from serving.protocol.feedback import FeedbackRequest
from serving.quotas.quota import QuotaExceeded
from serving.store.errors import Conflict, InvalidValue, NotFound, TooMany
from serving.store.feedback import MAX_PAGE, Feedback, Rating
from serving.telemetry import metrics


async def create(s: Services, request: Request, x: Exchange) -> Response:
    """Stores a rating once: a repetition with the same id returns the existing one."""
    body = await read_json(request, FeedbackRequest, s.limits)
    started, outcome = time.perf_counter(), "error"
    rating = Rating(body.thumb, body.score, body.tags, body.comment, body.correction, body.rejected, body.consent)
    try:
        made = await s.ratings.create(
            x.caller,
            (body.target.type, body.target.id),
            rating,
            id=body.id,
            meter_of=lambda size: storage_meter(s.keeper, x.caller, items=1, stored_bytes=size),
        )
        outcome = "ok"
    except (Conflict, InvalidValue, NotFound, QuotaExceeded, TooMany):
        outcome = "refused"
        raise
    finally:
        metrics.child(metrics.feedback_seconds, outcome).observe(time.perf_counter() - started)
    metrics.child(metrics.feedback, body.target.type, body.thumb or "none").inc()
    return JsonResponse(_render(made))


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists ratings, or those of the targets that are given."""
    targets = list_query(request, "target", count=MAX_PAGE, most=128)
    return page_response(await s.ratings.list(x.caller, targets=targets, **page_query(request)), _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a rating."""
    return JsonResponse(_render(await s.ratings.get(x.caller, request.path_params["feedback_id"])))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a rating."""
    id = request.path_params["feedback_id"]
    await s.ratings.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "feedback.deleted", "deleted": True})


def _render(feedback: Feedback) -> dict[str, Any]:
    kind, target = feedback.target
    return {
        "id": feedback.id,
        "object": "feedback",
        "created_at": int(feedback.created_at),
        "target": {"type": kind, "id": target},
        "thumb": feedback.thumb,
        "score": feedback.score,
        "tags": feedback.tags,
        "comment": feedback.comment,
        "correction": feedback.correction,
        "rejected": feedback.rejected_id,
        "consent": feedback.consent,
    }
