"""`/v1/admin/captures`: answers whose callers consented, for review. They do not name their callers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, get_args

from starlette.requests import Request
from starlette.responses import Response

from serving.api.administered_tenant import acting
from serving.api.http import JsonResponse
from serving.api.paging import one_of, page_query, page_response, seconds, text_query
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.store.feedback import Thumb
from serving.store.history.reviews import Reviewed, ReviewedTexts

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
"""Parts of messages that are shown whole: of others, which may hold a file's bytes, only the type is."""

_PASSAGE = ("file_name", "title", "heading", "text", "start", "end", "page")


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a tenant's answers for review: only those whose request consented, without their texts."""
    principal = await acting(s, request, x)
    thumb: Any = one_of(request.query_params.get("thumb"), "thumb", get_args(Thumb))
    found = await s.reviews.page(
        principal,
        assistant=text_query(request, "assistant", 256),
        model=text_query(request, "model", 256),
        conversation=text_query(request, "conversation", 64),
        thumb=thumb,
        start=seconds(request, "start"),
        end=seconds(request, "end"),
        **page_query(request),
    )
    return page_response(found, _render)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns an answer for review, with the messages that led to it, its passages and its ratings."""
    principal = await acting(s, request, x)
    found, texts = await s.reviews.get(principal, request.path_params["capture_id"])
    return JsonResponse(
        {
            **_render(found),
            "messages": _messages(texts.request),
            "answer": [_choice(choice) for choice in texts.answer],
            "passages": _passages(texts),
            "ratings": [asdict(rating) | {"created_at": int(rating.created_at)} for rating in texts.ratings],
        }
    )


def _render(one: Reviewed) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "capture",
        "created_at": int(one.created_at),
        "conversation_id": one.conversation_id,
        "requested": one.requested,
        "assistant": one.assistant,
        "model": one.model,
        "adapter": one.adapter,
        "outcome": one.outcome,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "up": one.up,
        "down": one.down,
    }


def _messages(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the messages of a chat completion's or a response's request."""
    given = request.get("messages", request.get("input"))
    items = given if isinstance(given, list) else [{"role": "user", "content": given or ""}]
    instructions = request.get("instructions")
    first = [{"role": "system", "content": instructions}] if isinstance(instructions, str) else []
    return [*first, *(_message(item) for item in items if isinstance(item, Mapping))]


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    content = item.get("content", item.get("output"))
    if isinstance(content, list):
        content = [_part(part) for part in content if isinstance(part, Mapping)]
    shown = content if isinstance(content, str | list) else ""
    return {"role": str(item.get("role") or item.get("type") or ""), "content": shown}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(part.get("type"))
    text = part.get("text", part.get("refusal"))
    return {"type": kind, "text": text} if kind in _TEXT_PARTS and isinstance(text, str) else {"type": kind}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the texts of a choice, without its annotations, which quote passages."""
    message = choice.get("message")
    told: Mapping[str, Any] = message if isinstance(message, Mapping) else {}
    content, refusal, calls = told.get("content"), told.get("refusal"), told.get("tool_calls")
    return {
        "content": content if isinstance(content, str) else None,
        "refusal": refusal if isinstance(refusal, str) else None,
        "tool_calls": list(calls) if isinstance(calls, Sequence) else [],
    }


def _passages(texts: ReviewedTexts) -> list[dict[str, Any]]:
    """Returns the passages that the answer was made from; only the id of those whose file is not readable."""
    return [
        {
            "file_id": chunk["file_id"],
            **{name: chunk.get(name) if chunk["file_id"] in texts.readable else None for name in _PASSAGE},
        }
        for chunk in texts.chunks
    ]
