"""`POST /v1/chat/completions`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.chat import ChatRequest, check_size, check_tool_choice


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers a conversation, streamed or not."""
    body = await read_json(request, ChatRequest, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    x.timeline.end_of("receive")
    check_size(body, s.limits)
    check_tool_choice(body)
    answer = await s.pipeline.chat(x, body)
    return JsonResponse(answer) if answer is not None else None
