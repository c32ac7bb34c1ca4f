"""`/v1/responses`: one request, its answer, and what was said before it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from serving.api.http import JsonResponse, read_json
from serving.api.paging import one_of, page_query, page_response
from serving.api.services import Services
from serving.inference.exchange import Exchange
from serving.inference.responses.references import resolved
from serving.protocol.errors import invalid
from serving.protocol.responses import ResponseRequest


async def create(s: Services, request: Request, x: Exchange) -> Response | None:
    """Answers an input, streamed or whole, and keeps both."""
    body = await resolved(s.responses, x.caller, await read_json(request, ResponseRequest, s.limits))
    x.timeline.end_of("receive")
    answer = await s.pipeline.response(x, body)
    return JsonResponse(answer) if answer is not None else None


async def count_input(s: Services, request: Request, x: Exchange) -> Response:
    """Counts the tokens that a model would read, with what it is shown of earlier turns and documents."""
    body = await resolved(s.responses, x.caller, await read_json(request, ResponseRequest, s.limits))
    x.timeline.end_of("receive")
    count = await s.pipeline.count(x, body)
    return JsonResponse({"object": "response.input_tokens", "input_tokens": count})


async def get(s: Services, request: Request, x: Exchange) -> Response:
    """Returns a kept response."""
    if one_of(request.query_params.get("stream"), "stream", ("true", "false")) == "true":
        raise invalid("Only responses in the background can be streamed again, and there are none.", "stream")
    return JsonResponse((await s.responses.get(x.caller, request.path_params["response_id"])).body)


async def delete(s: Services, request: Request, x: Exchange) -> Response:
    """Deletes a response; those that followed it stay."""
    id = request.path_params["response_id"]
    await s.responses.delete(x.caller, id)
    return JsonResponse({"id": id, "object": "response", "deleted": True})


async def cancel(s: Services, request: Request, x: Exchange) -> Response:
    """Refuses: only responses in the background can be cancelled, and there are none."""
    await s.responses.get(x.caller, request.path_params["response_id"])
    raise invalid("Cannot cancel a synchronous response.")


async def list_input(s: Services, request: Request, x: Exchange) -> Response:
    """Lists a response's own input."""
    id = request.path_params["response_id"]
    return page_response(await s.responses.list_input(x.caller, id, **page_query(request)), dict)
