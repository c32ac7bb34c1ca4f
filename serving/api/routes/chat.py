"""`POST /v1/chat/completions`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.config import Limits
from serving.inference.exchange import Exchange
from serving.protocol.chat import ChatRequest, NamedChoice
from serving.protocol.errors import invalid


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers a conversation, streamed or not."""
    body = await read_json(request, ChatRequest, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    x.timeline.end_of("receive")
    check_size(body, s.limits)
    _check_tool_choice(body)
    answer = await s.pipeline.chat(x, body)
    return JsonResponse(answer) if answer is not None else None


def _check_tool_choice(body: ChatRequest) -> None:
    names = {tool.function.name for tool in body.tools or ()}
    if isinstance(body.tool_choice, NamedChoice) and body.tool_choice.function.name not in names:
        raise invalid("tool_choice names a function that is not one of the tools.", "tool_choice.function.name")
    if body.tool_choice == "required" and not names:
        raise invalid("tool_choice is required, and there are no tools.", "tool_choice")


def check_size(body: ChatRequest, limits: Limits) -> None:
    """Raises a 400 for input beyond the limits, before anything is tokenised."""
    if len(body.messages) > limits.messages:
        raise invalid(f"More than {limits.messages} messages.", "messages", "too_many_messages")
    size = 0
    for message in body.messages:
        content = message.content
        size += len(content) if isinstance(content, str) else len(message.text())
        size += sum(len(call.function.arguments) for call in message.tool_calls or ())
    if size > limits.characters:
        raise invalid(f"The messages have more than {limits.characters} characters.", "messages", "too_long")
    if body.n is not None and body.n > limits.n:
        raise invalid(f"n is at most {limits.n}.", "n")
    if body.conversation is not None and (body.n or 1) > 1:
        raise invalid("A conversation continues with one answer: n must be 1.", "n")
