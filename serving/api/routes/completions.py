"""`POST /v1/completions`: a model continues a text."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol.chat import CompletionRequest
from serving.protocol.errors import invalid


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Continues one or more texts, streamed or not."""
    body = await read_json(request, CompletionRequest, s.limits, drop_unsupported=s.config.drop_unsupported_params)
    x.timeline.end_of("receive")
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if sum(map(len, prompts)) > s.limits.characters:
        raise invalid(f"The prompt has more than {s.limits.characters} characters.", "prompt", "too_long")
    if not all(prompts):
        raise invalid("A prompt must not be empty.", "prompt")
    if body.n is not None and body.n > s.limits.n:
        raise invalid(f"n is at most {s.limits.n}.", "n")
    answer = await s.pipeline.completion(x, body)
    return JsonResponse(answer) if answer is not None else None
