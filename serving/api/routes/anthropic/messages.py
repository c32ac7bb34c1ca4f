"""`/v1/messages`: chats in the shape of Anthropic's API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.inference.messages.chat import MessageChat
from serving.protocol.messages.requests import MessagesRequest, TokenCountRequest


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers a conversation in Anthropic's shape, streamed or not."""
    asked = await _read(s, request, x, MessagesRequest)
    with asked.naming_fields():
        answer = await s.pipeline.message(x, asked)
    return JsonResponse(answer) if answer is not None else None


async def count_tokens(s: Services, request: Request, x: Exchange) -> Response:
    """Counts the tokens that a model would read for a message, including earlier turns and documents."""
    asked = await _read(s, request, x, TokenCountRequest)
    with asked.naming_fields():
        return JsonResponse({"input_tokens": await s.pipeline.count(x, asked)})


async def _read(s: Services, request: Request, x: Exchange, model: type[TokenCountRequest]) -> MessageChat:
    body = await read_json(request, model, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    x.timeline.end_of("receive")
    return MessageChat(body, s.limits)
