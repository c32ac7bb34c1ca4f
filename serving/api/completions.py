"""`POST /v1/completions`: a bare model continues a text."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.charging import charged
from serving.api.chat import resolve
from serving.api.errors import invalid
from serving.api.exchange import Exchange
from serving.api.generation import Job, sampling_fields
from serving.api.guarding import guarded
from serving.api.http import JsonResponse, read_json
from serving.api.recorder import recorder
from serving.api.schemas import CompletionRequest
from serving.api.services import Services


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Continues one or more texts, streamed or whole."""
    body = await read_json(request, CompletionRequest, s.limits)
    x.timeline.end_of("receive")
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    if sum(map(len, prompts)) > s.limits.characters:
        raise invalid(f"The prompt has more than {s.limits.characters} characters.", "prompt", "too_long")
    if not all(prompts):
        raise invalid("A prompt must not be empty.", "prompt")
    if body.n is not None and body.n > s.limits.n:
        raise invalid(f"n is at most {s.limits.n}.", "n")
    route = resolve(s, x, body.model)
    if route.assistant is not None:
        raise invalid("An assistant answers chat completions; completions need a model.", "model")
    async with x.cancelled_by_hang_up(), charged(s.keeper, x, stream=body.stream):
        with x.timeline.during("guard"):
            body = await guarded(s, x, route, body)
        document: dict[str, Any] = {**sampling_fields(body), "prompt": body.prompt}
        if body.max_tokens is not None:
            document["max_tokens"] = body.max_tokens
        if body.logprobs is not None:
            document["logprobs"] = body.logprobs
        job = Job(
            path="/completions",
            id=x.new_id("cmpl"),
            route=route,
            document=document,
            stream=body.stream,
            want_usage=body.stream_options is not None and body.stream_options.include_usage,
            finished=recorder(s, x, route, body),
            transform=legacy_logprobs if body.logprobs is not None else None,
        )
        async with s.admission.admit():
            x.timeline.end_of("admit")
            answer = await s.generator.run(x, job)
    return JsonResponse(answer) if answer is not None else None


def legacy_logprobs(document: dict[str, Any]) -> None:
    """Turns chat-shaped log probabilities, which llama.cpp gives here too, into the completions API's shape."""
    for choice in document.get("choices", ()):
        content = (choice.get("logprobs") or {}).get("content")
        if not isinstance(content, list):
            continue
        offset, offsets = 0, []
        for token in content:
            offsets.append(offset)
            offset += len(token["token"])
        choice["logprobs"] = {
            "tokens": [t["token"] for t in content],
            "token_logprobs": [t["logprob"] for t in content],
            "top_logprobs": [{a["token"]: a["logprob"] for a in t.get("top_logprobs", ())} for t in content],
            "text_offset": offsets,
        }
