"""`/v1/admin/requests`: what is known of a request that was answered, without its texts and its caller."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse
from serving.api.paging import seconds
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.inference.outcome import FINISH_REASONS
from serving.metering.cost import Cost
from serving.protocol.errors import invalid
from serving.store.history.answered_requests import AnsweredRequest, AnsweredRequests
from serving.telemetry.catalogue import STAGES


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns what is known of a request by its id or its answer's: route, times by stage, tokens and cost."""
    principal = await acting(s, request, x)
    id, (start, end) = request.path_params["request_id"], _searched(request)
    found = await AnsweredRequests(s.database).find(principal, id, start=start, end=end)
    engines = {model.name: model.engine for model in s.catalog.current.router.models(None)}
    answers = [_render(one, engines.get(one.model)) for one in found.items]
    return JsonResponse({"id": id, "object": "request", "answers": answers, "has_more": found.has_more})


def _searched(request: Request) -> tuple[float | None, float | None]:
    """Returns the time in which a request's id is searched, by default all; raises a 400."""
    start, end = seconds(request, "start"), seconds(request, "end")
    if start is not None and end is not None and start > end:
        raise invalid("start must be before end.", "start")
    return start, end


def _render(one: AnsweredRequest, engine: str | None) -> dict[str, Any]:
    # The shortest decimal number of a double is the amount from which it was made, up to 15 digits.
    known = one.cost is not None and one.currency is not None
    cost = Cost(Decimal(repr(one.cost)), one.currency or "").document if known else None
    return {
        "id": one.id,
        "object": "request.answer",
        "request_id": one.request_id,
        "created_at": int(one.created_at),
        "requested": one.requested,
        "assistant": one.assistant,
        "prompt_version": one.prompt_version,
        "prompts": one.prompts or [],
        "alias": one.alias,
        "model": one.model,
        "adapter": one.adapter,
        "engine": engine,
        "stream": one.stream,
        "outcome": one.outcome,
        "finish_reason": one.finish_reason if one.finish_reason in FINISH_REASONS else None,
        "error_code": one.error_code,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "cost": cost,
        "steps": one.steps,
        "passages": one.passages,
        "seconds": sum(one.timings.values()),
        "stages": {stage: one.timings[stage] for stage in STAGES if stage in one.timings},
        "stored": one.stored,
        "consent": one.consent,
    }
