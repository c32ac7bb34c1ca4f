"""`/v1/chat/completions` as OpenAI stores them: completions with `store: true`."""

from __future__ import annotations

import re
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import page_query, page_response, text_query
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.protocol import choices
from serving.protocol.conversations import MetadataUpdate
from serving.store.captures import MAX_PAGE, Capture
from serving.store.relational.rows import part

_METADATA = re.compile(r"metadata\[(.+)\]", re.DOTALL)


async def list_page(s: Services, request: Request, x: Exchange) -> Response:
    """Lists stored completions, the oldest first."""
    query = request.query_params
    metadata = {found[1]: value for name, value in query.items() if (found := _METADATA.fullmatch(name))}
    model = text_query(request, "model", 256)
    page = page_query(request, order="asc")
    return page_response(await s.captures.list(x.caller, model=model, metadata=metadata, **page), _completion)


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a stored completion."""
    return JsonResponse(_completion(await s.captures.get(x.caller, request.path_params["completion_id"])))


async def update(s: Services, request: Request, x: Exchange) -> Response:
    """Replaces a stored completion's metadata."""
    body = await read_json(request, MetadataUpdate, s.limits)
    id = request.path_params["completion_id"]
    return JsonResponse(_completion(await s.captures.update(x.caller, id, metadata=body.metadata)))


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a stored completion with its feedback."""
    id = request.path_params["completion_id"]
    await s.captures.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "chat.completion.deleted", "deleted": True})


async def list_messages(s: Services, request: Request, x: Exchange) -> Response:
    """Lists the messages of a stored completion's request, in their order."""
    query = page_query(request, order="asc")
    capture = await s.captures.get(x.caller, request.path_params["completion_id"])
    messages = [_message(capture, i, m) for i, m in enumerate(capture.request["messages"])]
    return page_response(part(messages, max_limit=MAX_PAGE, **query), dict)


def _message(capture: Capture, i: int, message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    parts = content if isinstance(content, list) else None
    shown = {"content": content if parts is None else None, "content_parts": parts}
    return {**message, **shown, "id": f"{capture.id}-{i}"}


def _completion(capture: Capture) -> dict[str, Any]:
    prompt, completion = capture.prompt_tokens or 0, capture.completion_tokens or 0
    return {
        "id": capture.id,
        "object": "chat.completion",
        "created": int(capture.created_at),
        "model": capture.requested,
        "choices": [choices.complete_choice(choice) for choice in capture.answer],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        "metadata": capture.metadata,
        "headrace": {"outcome": capture.outcome, "request_id": capture.request_id},
    }
